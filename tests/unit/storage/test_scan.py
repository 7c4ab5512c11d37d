"""A stage's committed rows as a polars frame: exactly those, whatever is asked of them."""

from __future__ import annotations

from dataclasses import asdict

import polars as pl
import pytest

from storage.errors import ConfigurationError, ObjectCorrupt
from storage.objects.memory import MemoryStore
from storage.objects.store import ObjectStore
from storage.rows.kinds import OURS, PATHS
from storage.rows.records import Rationale
from storage.rows.schemas import completed, from_table, schema_of, to_table
from storage.runs.layout import commit_key, data_prefix
from storage.runs.run import Run
from storage.runs.scan import scan
from tests.support.whole_run import finished, path, rationale

STAGES = ("sample", "label", "rationalize", "consensus", "export")


def run(store: ObjectStore | None = None) -> Run:
    return finished(store or MemoryStore(), per_shard=7)


@pytest.mark.parametrize("stage", STAGES)
def test_a_frame_holds_the_rows_that_a_reader_of_records_gets(stage: str) -> None:
    made = run()
    kind = OURS[stage]
    rows = [row for shard in sorted(made.shards_of(stage)) for row in made.read_rows(kind, shard)]
    assert scan(made, stage).collect().to_dicts() == [asdict(row) for row in rows]


def test_columns_filters_and_limits_give_what_they_give_on_the_whole_frame() -> None:
    asked = scan(run(), "sample")
    whole = asked.collect()
    some = asked.filter(pl.col("selected")).select("path_id").collect()
    assert some.equals(whole.filter(pl.col("selected")).select("path_id"))
    assert asked.head(3).collect().equals(whole.head(3))
    assert asked.select(pl.len()).collect().item() == whole.height


def test_rows_that_no_commit_names_are_not_among_them() -> None:
    made = run()
    before = scan(made, "sample").collect()
    (orphan, _), *_ = made.store.list(data_prefix(made.name, "sample"))
    made.store.put_new(orphan.replace("/000000-", "/000001-f"), made.store.get(orphan))
    assert scan(made, "sample").collect().equals(before)
    made.store.delete(commit_key(made.name, "sample", 0))
    rows = [
        row.path_id for shard in made.shards_of("sample") for row in made.read_rows(PATHS, shard)
    ]
    assert scan(made, "sample").collect()["path_id"].to_list() == rows


def test_a_stage_without_commits_has_a_frame_without_rows() -> None:
    made = run()
    for shard in made.shards_of("sample"):
        made.store.delete(commit_key(made.name, "sample", shard))
    frame = scan(made, "sample").filter(pl.col("selected")).collect()
    assert (frame.height, frame.columns) == (0, schema_of(PATHS.record).names)


def test_damaged_bytes_never_become_rows() -> None:
    store = MemoryStore()
    made = run(store)
    key = made.commit("label", 0).data_key
    data = store.get(key)
    store.delete(key)
    store.put_new(key, data[:-1] + b"?")
    with pytest.raises(ObjectCorrupt, match="is damaged"):
        scan(made, "label").select("path_id").collect()


def test_a_stage_that_a_run_lacks_is_an_error_in_words() -> None:
    with pytest.raises(ConfigurationError, match="has no stage 'search'"):
        scan(run(), "search")


def test_a_field_that_an_older_version_lacks_has_its_default() -> None:
    rows = [rationale(path("train/1", 0))]
    table = to_table(Rationale, rows)
    older = table.drop_columns(["reading", "dropped"])
    assert from_table(Rationale, completed(Rationale, older, table.column_names)) == from_table(
        Rationale, older
    )
