"""A derived run has the source's shards to the byte, and needs the source no more."""

from __future__ import annotations

import dataclasses

import pytest

from storage.audit import audit
from storage.errors import ConfigurationError, NothingFound, ObjectCorrupt, SpecMismatch
from storage.objects.memory import MemoryStore
from storage.rows.kinds import PATHS
from storage.rows.records import Drop
from storage.runs import layout
from storage.runs.origin import Origin, adopt, check_derivable, origin_of, store_origin
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, differences
from storage.sweep import sweep
from tests.support.whole_run import QUICK, finished, work_shard

UPSTREAM = ("problems", "sample", "estimate")


def derived(source: Run) -> Run:
    spec = dataclasses.replace(source.spec, configuration={"label": {"threshold": 0.9}})
    return Run.start(source.store, "derived", spec, QUICK)


def adopt_all(run: Run, source: Run) -> list[bool]:
    return [adopt(run, source, stage, shard) for stage in UPSTREAM for shard in range(3)]


def test_adopted_shards_are_copies_and_the_source_stays_as_it_was() -> None:
    source = finished(MemoryStore())
    store = source.store
    assert isinstance(store, MemoryStore)
    before = dict(store.objects)
    run = derived(source)
    assert adopt_all(run, source) == adopt_all(run, source) == [True] * 9
    assert run.read_rows(PATHS, 1) == source.read_rows(PATHS, 1)
    assert run.shards_of("label") == set()
    assert {key: store.objects[key] for key in before} == before
    assert {c.sha256 for c in run.commits("sample")} == {c.sha256 for c in source.commits("sample")}


def test_a_derived_run_is_whole_when_the_source_is_gone() -> None:
    source = finished(MemoryStore())
    store = source.store
    run = derived(source)
    adopt_all(run, source)
    for key, _ in list(store.list(layout.run_prefix(source.name))):
        store.delete(key)
    for shard in range(3):
        work_shard(run, shard)
    run.finish()
    assert sweep(run).objects == 0
    assert audit(run).findings == ()


def test_a_shard_of_ones_own_is_never_replaced() -> None:
    source = finished(MemoryStore())
    run = derived(source)
    own = run.publish(PATHS, 0, [])
    assert adopt(run, source, "sample", 0) is False
    assert run.commit("sample", 0).sha256 == own.sha256
    assert adopt(run, source, "sample", 1) is True


def test_what_a_copied_shard_drops_may_be_another_runs_matter() -> None:
    source = finished(MemoryStore())
    run = derived(source)
    left_out = (Drop("p9", "wrong_row", "line 9"),)
    assert adopt(run, source, "problems", 0, left_out)
    copied, theirs = run.commit("problems", 0), source.commit("problems", 0)
    assert (copied.sha256, copied.drops) == (theirs.sha256, left_out) != (theirs.sha256, ())
    assert theirs.drops == ()


def test_a_source_under_way_gives_what_it_has_and_a_damaged_one_nothing() -> None:
    source = finished(MemoryStore())
    store = source.store
    assert isinstance(store, MemoryStore)
    store.delete(layout.commit_key(source.name, "label", 1))
    store.objects[source.commit("label", 2).data_key] = b"?"
    run = derived(source)
    assert adopt(run, source, "label", 0)
    with pytest.raises(NothingFound):
        adopt(run, source, "label", 1)
    with pytest.raises(ObjectCorrupt, match="is damaged"):
        adopt(run, source, "label", 2)
    assert run.shards_of("label") == {0}


def test_the_same_cut_one_store_and_another_name_are_needed() -> None:
    source = finished(MemoryStore())

    def check(run: str = "new", store: str = source.store.url, **change: object) -> None:
        spec = dataclasses.replace(source.spec, **change)  # type: ignore[arg-type]
        check_derivable(run, store, source, differences(source.spec, spec))

    check(configuration={"label": 2})
    check(input_digest="other", plan=ShardPlan(8, 3))  # which shards have the same is seen later
    with pytest.raises(SpecMismatch, match=r"plan\.items_per_shard: stored 3, asked for 2"):
        check(plan=ShardPlan(7, 2))
    with pytest.raises(SpecMismatch, match="different stores"):
        check(store="memory://elsewhere")
    with pytest.raises(ConfigurationError, match="derived from itself"):
        check(run=source.name)


def test_a_run_says_once_where_it_comes_from() -> None:
    source = finished(MemoryStore())
    run = derived(source)
    assert origin_of(run) is None
    store_origin(run, source)
    store_origin(run, source)
    assert origin_of(run) == Origin("whole", source.spec.fingerprint)
    other = finished(source.store, "other")
    with pytest.raises(SpecMismatch, match="derived from another run: 'whole'"):
        store_origin(run, other)
