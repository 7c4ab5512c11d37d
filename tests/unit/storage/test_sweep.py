"""Sweeping takes garbage only: never what a commit names, never what one may still name."""

from __future__ import annotations

import os
from pathlib import Path as Folder

import pytest

from storage.audit import audit
from storage.datasets.dataset import assemble
from storage.objects.local import LocalStore
from storage.objects.memory import MemoryStore
from storage.rows.kinds import PATHS
from storage.runs import commits, layout
from storage.sweep import Swept, sweep
from tests.support.whole_run import finished, path, started, stray


def test_the_data_of_losers_goes_and_nothing_else() -> None:
    store = MemoryStore()
    run = finished(store)
    assemble(run)
    before = dict(store.objects)
    strays = [stray("problems", 0, "a"), stray("problems", 0, "b"), stray("export", 2, "c")]
    strays.append(("runs/whole/dataset/genprm/data/train-00000-of-00009-ab.parquet", b"old"))
    for key, data in strays:
        store.put_new(key, data)
    size = sum(len(data) for _, data in strays)
    assert sweep(run, dry_run=True) == Swept(4, size, 0)
    assert len(store.objects) == len(before) + 4
    assert sweep(run) == Swept(4, size, 0)
    assert store.objects == before
    assert audit(run).findings == ()


def test_what_may_still_be_committed_stays() -> None:
    store = MemoryStore()
    run = started(store)
    store.put_new(*stray("sample", 0, "under way"))
    store.objects[layout.commit_key("whole", "problems", 1)] = b"unreadable"
    store.put_new(*stray("problems", 1, "whose commit is damaged"))
    store.put_new("runs/whole/sample/data/notes.txt", b"not ours")
    before = dict(store.objects)
    assert sweep(run) == Swept(0, 0, 4)
    assert store.objects == before


def test_a_sweep_takes_a_slow_writers_data_only_once_its_twin_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = started(MemoryStore())
    swept = []

    def between(point: str, _: str = "") -> None:
        if point == "after_data":  # the slow writer's data is stored, its commit is not
            monkeypatch.setattr(commits, "fault", lambda *_: None)
            swept.append(sweep(run))
            assert run.publish(PATHS, 1, [path("train/3", 1)]).won
            swept.append(sweep(run))

    monkeypatch.setattr(commits, "fault", between)
    assert not run.publish(PATHS, 1, [path("train/3", 0)]).won
    assert [(found.objects, found.unsettled) for found in swept] == [(0, 1), (1, 0)]
    assert run.read_rows(PATHS, 1) == [path("train/3", 1)]


def test_files_that_killed_writers_left_go_after_a_day(tmp_path: Folder) -> None:
    store = LocalStore.at(tmp_path)
    run = finished(store)
    old, new = tmp_path / ".partial" / "old", tmp_path / ".partial" / "new"
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (0, 0))
    sweep(run)
    assert (old.exists(), new.exists()) == (False, True)
