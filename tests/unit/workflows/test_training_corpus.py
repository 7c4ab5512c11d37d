"""What is trained on: read from committed shards, cut and counted, split by problem."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from storage.errors import InputError, ObjectCorrupt
from storage.objects.local import LocalStore
from storage.rows.kinds import EXAMPLES
from storage.rows.records import Example
from storage.runs.commits import signed
from storage.runs.run import Run
from tests.support import training_world
from tests.support.training_world import demo_tokenizer, examples, loaded, taught_run
from workflows.formats.conversation import check_example
from workflows.training.corpus import CorpusSource
from workflows.training.settings import DataSettings
from workflows.training.split import held_out_problems


def source(run: Run, **data: object) -> CorpusSource:
    settings = DataSettings(**data)  # type: ignore[arg-type]
    return CorpusSource(run.store.url, run.name, "genprm", settings, None)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return taught_run(LocalStore.at(tmp_path / "store"))


def test_every_conversation_is_trained_on_or_held_out_and_no_problem_is_on_both_sides(
    run: Run,
) -> None:
    corpus = loaded(source(run, held_out=0.25), 2048)
    names = [one.name for one in (*corpus.train, *corpus.held_out)]
    assert sorted(names) == sorted(one.path_id for one in examples(24))
    sides = [{one.problem_id for one in side} for side in (corpus.train, corpus.held_out)]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == corpus.counts["problems_held_out"] == 3
    assert corpus.counts["read"] == 24
    assert corpus.counts["cut"] == 0


def test_long_conversations_are_cut_at_a_step_and_what_has_no_whole_step_is_dropped(
    run: Run,
) -> None:
    whole = loaded(source(run), 2048)
    lengths = sorted(len(one.ids) for one in (*whole.train, *whole.held_out))
    middle = lengths[len(lengths) // 2]
    cut = loaded(source(run), middle)
    rows = {one.name: one for one in (*cut.train, *cut.held_out)}
    steps = {one.path_id: len(one.labels) for one in examples(24)}
    lost = {name: steps[name] - len(row.labels) for name, row in rows.items()}
    assert all(len(row.ids) <= middle for row in rows.values())
    assert cut.counts["cut"] == sum(count > 0 for count in lost.values()) > 0
    assert cut.counts["turns_cut_off"] == sum(lost.values())
    small = loaded(source(run), lengths[0])
    assert small.counts["dropped_too_long"] + len(small.train) + len(small.held_out) == 24


def test_a_run_that_an_earlier_version_exported_is_learnt_like_any_other(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_last_newline(one: Example) -> Example:
        turns = [replace(turn, content=turn.content.rstrip("\n")) for turn in one.conversations]
        check_example(replace(one, conversations=turns))
        return replace(one, conversations=turns)

    earlier = [without_last_newline(one) for one in examples(24)]
    monkeypatch.setattr(training_world, "examples", lambda count: earlier[:count])
    old = taught_run(LocalStore.at(tmp_path / "old"))
    made, wanted = (loaded(source(of), 2048) for of in (old, run))
    assert [one.ids.tolist() for one in made.train] == [one.ids.tolist() for one in wanted.train]


def test_nothing_that_fits_is_one_line(run: Run) -> None:
    with pytest.raises(InputError, match=r"dropped_too_long 24.*raise data.max_length"):
        loaded(source(run), 10)


def test_a_run_without_rows_is_one_line(tmp_path: Path) -> None:
    empty = taught_run(LocalStore.at(tmp_path / "empty"), count=0)
    with pytest.raises(InputError, match="'taught' has no rows to train on"):
        loaded(source(empty), 2048)


def test_a_shard_that_was_altered_is_refused(run: Run, tmp_path: Path) -> None:
    key = run.commit("export", 1).data_key
    file = tmp_path / "store" / key
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(ObjectCorrupt, match=key):
        loaded(source(run), 2048)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"files": []}, "shard 0 lacks"), ({"notes": {}}, "has no counts among its notes")],
)
def test_stored_tokens_that_are_none_are_refused(
    change: dict[str, object], said: str, run: Run, tmp_path: Path
) -> None:
    loaded(source(run), 2048)
    (shard,) = (tmp_path / "store").rglob("tokens/*/shards/000000.json")
    body = json.loads(shard.read_bytes()) | change
    del body["digest"]
    shard.write_bytes(signed(body))
    for split in (tmp_path / "store").rglob("tokens/*/splits/*.json"):
        split.unlink()
    with pytest.raises(ObjectCorrupt, match=said):
        loaded(source(run), 2048)


def test_more_tokens_than_the_model_has_positions_are_refused(run: Run) -> None:
    with pytest.raises(InputError, match=r"4096.*2048 positions"):
        source(run, max_length=4096).most_tokens(2048)
    assert source(run).most_tokens(2048) == 2048
    assert source(run).most_tokens(131_072) == 8192
    assert source(run, max_length=16_384).most_tokens(131_072) == 16_384


def test_the_split_follows_from_the_problems_alone() -> None:
    names = [f"p{number}" for number in range(50)]
    held = held_out_problems(names, 0.1)
    assert held == held_out_problems([*reversed(names), *names], 0.1)
    assert len(held) == 5
    assert held_out_problems(names, 0.2) > held
    assert len(held_out_problems(["only"], 0.01)) == 1
    assert held_out_problems(names, 0.0) == frozenset()


def test_a_view_is_what_is_read(run: Run) -> None:
    made = CorpusSource(run.store.url, run.name, "direct", DataSettings(), None)
    corpus = loaded(made)
    own = demo_tokenizer().decode(corpus.train[0].ids[corpus.train[0].own])
    assert own.startswith("<output>")
    assert isinstance(run.read_rows(EXAMPLES, 0)[0], Example)
