"""Later stages read what they need of many samples, from an object beside them, or the samples."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from storage.audit import audit
from storage.errors import ObjectCorrupt
from storage.objects.memory import MemoryStore
from storage.rows.kinds import PATHS
from storage.rows.records import Path
from storage.runs import layout
from storage.runs.commits import Commit, commit_bytes, commit_from
from storage.runs.origin import adopt
from storage.runs.run import Run
from storage.sweep import sweep
from tests.support.whole_run import path, started
from workflows.runs.copying import copy_run


def samples(count: int = 60, selected: int = 2) -> list[Path]:
    """The samples of a problem, with texts that no two have in common."""
    made = [path("train/0", index, selected=index < selected) for index in range(count)]
    return [
        replace(
            one, text=Random(one.index).randbytes(200).hex(), steps=[one.path_id] * 3,
            round=one.index // 20, correct=one.index % 3 == 0,
        )
        for one in made
    ]  # fmt: skip


def sampled(paths: list[Path]) -> tuple[Run, MemoryStore, Commit]:
    store = MemoryStore()
    run = started(store, count=1, per_shard=1)
    run.publish(PATHS, 0, paths)
    return run, store, run.commit("sample", 0)


def beside(store: MemoryStore) -> list[str]:
    return [key for key in store.objects if "/needed/" in key]


def test_selected_paths_are_whole_and_of_others_the_first_round_says_what_is_counted() -> None:
    run, store, commit = sampled(samples())
    needed, rows = run.read_needed(PATHS, 0), run.read_rows(PATHS, 0)
    assert needed[:2] == rows[:2]
    assert needed[2:] == [replace(one, text="", steps=[]) for one in rows[2:20]]
    assert beside(store) == [layout.needed_key("whole", "sample", 0, commit.needed)]
    assert len(store.objects[beside(store)[0]]) < commit.bytes / 2


def test_nothing_is_stored_apart_where_it_would_save_little() -> None:
    run, store, commit = sampled(samples(selected=50))
    assert (beside(store), commit.needed) == ([], "")
    assert b"needed" not in commit_bytes(commit)
    assert len(run.read_needed(PATHS, 0)) == 50


@pytest.mark.parametrize("damage", [None, b"", b"PAR1", b"{}"], ids=repr)
def test_without_the_object_or_with_a_damaged_one_the_rows_say_the_same(
    damage: bytes | None,
) -> None:
    run, store, _ = sampled(samples())
    before = run.read_needed(PATHS, 0)
    (key,) = beside(store)
    store.delete(key)
    if damage is not None:
        store.objects[key] = damage
    assert run.read_needed(PATHS, 0) == before
    found = [(one.kind, one.stage) for one in audit(run).findings if one.stage == "sample"]
    assert ("needed_damaged", "sample") in found


def test_an_audit_finds_an_object_that_does_not_follow_from_the_rows() -> None:
    (_, store, commit), (_, other, lie) = sampled(samples()), sampled(samples(selected=3))
    lied = replace(commit, needed=lie.needed)
    store.objects[layout.commit_key("whole", "sample", 0)] = commit_bytes(lied)
    store.objects.update({key: other.objects[key] for key in beside(other)})
    run = Run.open(store, "whole")
    assert "needed_damaged" in {found.kind for found in audit(run).findings}


@pytest.mark.parametrize("digest", ["../x", "0" * 63, "g" * 64])
def test_a_commit_that_names_something_else_is_corrupt(digest: str) -> None:
    commit = replace(sampled(samples())[2], needed=digest)
    with pytest.raises(ObjectCorrupt, match="names no object of what is needed"):
        commit_from("k", commit_bytes(commit))


def test_a_sweep_takes_what_no_commit_names_and_nothing_else() -> None:
    run, store, _ = sampled(samples())
    kept = beside(store)
    stray = layout.needed_key("whole", "sample", 0, "0" * 64)
    unsettled = layout.needed_key("whole", "sample", 7, "1" * 64)
    store.put_new(stray, b"x")
    store.put_new(unsettled, b"x")
    swept = sweep(run)
    assert (swept.objects, swept.unsettled) == (1, 1)
    assert beside(store) == [*kept, unsettled]


@pytest.mark.parametrize("there", [True, False])
def test_derived_runs_and_copies_have_it_if_it_is_there(there: bool) -> None:
    run, store, _ = sampled(samples())
    if not there:
        store.delete(*beside(store))
    derived = started(store, "derived", 1, 1)
    assert adopt(derived, run, "sample", 0)
    assert derived.read_needed(PATHS, 0) == run.read_needed(PATHS, 0)
    assert bool(derived.commit("sample", 0).needed) is there
    elsewhere = MemoryStore("elsewhere")
    copy_run(run, elsewhere, "whole")
    assert len(beside(elsewhere)) == there
    assert Run.open(elsewhere, "whole").read_needed(PATHS, 0) == run.read_needed(PATHS, 0)
