"""A derived run has the source's shards to the byte and leaves the source as it was."""

from __future__ import annotations

import dataclasses

import pytest

from storage.audit import audit
from storage.derivation import adopt
from storage.errors import SpecMismatch
from storage.memory_store import MemoryStore
from storage.records import Path, PathLabels
from storage.runs import Run
from storage.specs import ShardPlan
from storage.sweep import sweep
from tests.unit.storage.whole_run import QUICK, finished, work_shard

UPSTREAM = ("problems", "sample", "estimate")


def derived(source: Run) -> Run:
    spec = dataclasses.replace(source.spec, configuration={"label": {"threshold": 0.9}})
    return Run.start(source.store, "derived", spec, QUICK)


def test_upstream_shards_are_adopted_once_and_the_rest_is_made_anew() -> None:
    store = MemoryStore()
    source = finished(store)
    before = dict(store.objects)
    run = derived(source)
    assert adopt(run, source, UPSTREAM) == 3 * 3
    assert adopt(run, source, UPSTREAM) == 0
    assert run.read_rows("sample", 1, Path) == source.read_rows("sample", 1, Path)
    assert run.shards_of("label") == set()
    for shard in range(3):
        work_shard(run, shard)
    run.finish()
    assert sweep(source).objects == 0
    assert sweep(run).objects == 2 * 3  # the fixture made sample and estimate again, and lost
    assert [audit(kept).findings for kept in (run, source)] == [(), ()]
    assert {key: store.objects[key] for key in before} == before


def test_a_source_under_way_gives_what_it_has() -> None:
    source = finished(MemoryStore())
    store = source.store
    assert isinstance(store, MemoryStore)
    for key in [key for key in store.objects if "/label/commits/000001" in key]:
        store.delete(key)
    run = derived(source)
    assert adopt(run, source, ("problems", "label")) == 3 + 2
    assert len(run.read_rows("label", 0, PathLabels)) > 0


def test_another_input_plan_or_store_is_refused() -> None:
    source = finished(MemoryStore())
    for change in ({"input_digest": "other"}, {"plan": ShardPlan(7, 2)}, {"schemas": {"path": 9}}):
        spec = dataclasses.replace(source.spec, **change)
        run = Run.start(source.store, f"other-{next(iter(change)).replace('_', '-')}", spec)
        with pytest.raises(SpecMismatch, match=next(iter(change))):
            adopt(run, source, UPSTREAM)
    elsewhere = Run.start(MemoryStore("elsewhere"), "a", source.spec)
    with pytest.raises(SpecMismatch, match="different stores"):
        adopt(elsewhere, source, UPSTREAM)
