"""The verbs that keep a store say what is there, what would go and what became of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.cli.main import run_command
from launch.verbs.runs.listing import size
from launch.verbs.runs.stop import stop_run
from storage.objects.local import LocalStore
from storage.runs.origin import store_origin
from storage.runs.presence import SILENT_S, Presence, Who, drivers_of
from storage.runs.run import Run
from storage.trainings.training import Training, TrainingSpec
from tests.support.whole_run import finished, started, work_shard

Said = Callable[..., str]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEPMILL_STORE", "file:store")
    return LocalStore.at(tmp_path / "store")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    def call(*words: str, code: int = 0) -> str:
        assert run_command([*words]) == code
        shown = capsys.readouterr()
        return shown.out if code == 0 else shown.err

    return call


def training(store: LocalStore, name: str, run: str) -> Training:
    return Training.start(store, name, TrainingSpec("base@1", run, "d" * 64, {"view": "genprm"}))


def test_all_runs_and_trainings_are_listed(store: LocalStore, said: Said) -> None:
    assert "no runs in file://" in said("runs")
    finished(store, "done")
    work_shard(started(store, "begun"), 0)
    training(store, "taught", "done")
    lines = [json.loads(line) for line in said("runs", "--json").splitlines()]
    kinds = [(one["name"], one["kind"], one["state"]) for one in lines]
    assert kinds == [
        ("begun", "build", "unfinished"), ("done", "build", "finished"),
        ("taught", "training", "unfinished"),
    ]  # fmt: skip
    assert lines[1]["examples"] == 11
    assert lines[2]["refers_to"] == ["done"]
    assert all(one["age_s"] < 60 for one in lines)
    table = said("runs")
    assert all(word in table for word in ("begun", "1/3", "finished", "training", "11"))
    assert "begun" in said("status"), "without a run"


def test_a_run_is_removed_after_a_line_of_what_goes(store: LocalStore, said: Said) -> None:
    source = finished(store, "old")
    store_origin(started(store, "new"), source)
    training(store, "taught", "old")
    assert "give --yes to remove run old" in said("remove", "old", code=2)
    assert Run.find(store, "old") is not None
    shown = said("remove", "old", "--yes")
    assert "run old in file://" in shown
    assert "run new came from it and is whole without it" in shown
    assert "training taught came from it and goes no further without it" in shown
    assert "its name stays taken" in shown
    assert "was removed by" in said("status", "old", code=2)
    assert "removed" in said("runs")
    assert "already" in said("remove", "old", "--yes")
    assert "its name is free" in said("remove", "old", "--yes", "--free-name")
    assert "no run 'old'" in said("remove", "old", "--yes", code=2)
    assert "training taught is removed" in said("remove", "training:taught", "--yes")


def test_a_name_is_not_freed_while_somebody_is_at_work(store: LocalStore, said: Said) -> None:
    Presence(started(store, "busy")).look()
    shown = said("remove", "busy", "--yes", "--free-name", code=2)
    assert f"is being worked on by {Who.here()}" in shown
    assert f"at work: {Who.here()}" in said("status", "busy")
    assert Run.find(store, "busy") is not None


def test_a_copy_is_audited_and_says_what_is_not_there(store: LocalStore, said: Said) -> None:
    store_origin(finished(store, "new"), finished(store, "old"))
    shown = said("copy", "new", "--to", "file:other")
    assert "copied now" in shown
    assert "run old, from which it was derived, is not there" in shown
    assert "audit of new" in shown
    assert "clean" in shown
    assert "0 copied now" in said("copy", "new", "--to", "file:other", "--from", "file:store")
    said("copy", "new", "--to", "file:other", "--as", "again")
    assert "onto itself" in said("copy", "new", "--to", "file:store", code=2)
    assert "no run 'neu' in file://" in said("copy", "neu", "--to", "file:other", code=2)
    training(store, "taught", "old")
    assert "on which it is trained, is not there" in said(
        "copy", "training:taught", "--to", "file:other"
    )


def test_a_copy_of_a_damaged_run_is_refused(store: LocalStore, said: Said) -> None:
    run = finished(store, "done")
    file = store.root / run.commit("label", 1).data_key
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert "label/data/000001" in said("copy", "done", "--to", "file:other", code=3)


def test_that_a_copy_is_damaged_is_said_on_standard_error(store: LocalStore, said: Said) -> None:
    run = finished(store, "done")
    said("copy", "done", "--to", "file:other")
    file = store.root.parent / "other" / run.commit("label", 1).data_key
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert "is damaged" in said("copy", "done", "--to", "file:other", code=3)


def test_a_build_whose_process_is_no_more_is_dead_at_once(store: LocalStore, said: Said) -> None:
    run = started(store, "r")
    pid = os.fork()
    if pid == 0:
        try:
            Presence(run).look()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    (left,) = drivers_of(store, "r")
    assert left.ended and not left.at_work
    began = time.monotonic()
    assert f"(process {pid})" in (shown := said("stop", "r")) and "is dead" in shown
    assert time.monotonic() - began < SILENT_S / 2
    assert not list(store.list("runs/r/drivers/"))


def test_a_build_that_is_silent_while_somebody_looks_is_called_dead(
    store: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    run = started(store, "r")
    Presence(run).look()  # its process was killed
    alive = Presence(run)
    alive.look()
    passed, left = 0.0, False

    def pause(seconds: float) -> None:
        nonlocal passed, left
        passed += seconds
        if not left and alive.look().asked_by is not None:
            alive.leave()
            left = True

    stop_run(run, True, pause, lambda: passed)
    shown = capsys.readouterr().out
    assert shown.count("asked to stop") == 2
    assert shown.count("waiting to hear of") == 1
    assert shown.count("has ended") == shown.count("is dead") == 1
    assert SILENT_S < passed < 2 * SILENT_S
    assert not list(store.list("runs/r/drivers/"))


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (4_200, "4.2 kB"), (512_000, "512 kB"), (3 * 10**12, "3.0 TB")],
)
def test_sizes_are_short(count: int, words: str) -> None:
    assert size(count) == words
