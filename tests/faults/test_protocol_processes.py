"""The commit protocol with real processes that are killed or frozen at its named points.

Nothing here waits by sleeping: a process that is to be held opens a fifo, and the test that opens
the other end knows where it stands.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path as Folder

import pytest

from storage.audit import audit
from storage.fault_points import VARIABLE, fault
from storage.objects.local import LocalStore
from storage.sweep import sweep
from tests.support.whole_run import finished, started

ROOT = Folder(__file__).parents[2]


def start(store: LocalStore, *args: str, fault: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.publisher", store.url, *args],
        cwd=ROOT,
        env=os.environ | {VARIABLE: fault},
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    output, _ = process.communicate(timeout=120)
    return process.returncode, output.split()


@pytest.fixture
def store(tmp_path: Folder) -> LocalStore:
    return LocalStore.at(tmp_path / "store")


@pytest.mark.fault
@pytest.mark.parametrize(
    ("point", "committed"), [("before_data", False), ("after_data", False), ("after_commit", True)]
)
def test_a_writer_killed_at_any_step_leaves_a_whole_commit_or_none(
    store: LocalStore, point: str, committed: bool
) -> None:
    run = started(store)
    code, output = finish(start(store, "shard", "1", "first", fault=f"{point}@sample/1=kill"))
    assert (code, output) == (-signal.SIGKILL, [])
    assert (1 in run.shards_of("sample")) is committed
    (code, output) = finish(start(store, "shard", "1", "second"))
    assert (code, output[0]) == (0, "adopted" if committed else "won")
    assert run.commit("sample", 1).writer.role == ("first" if committed else "second")
    sweep(run)
    assert [finding.kind for finding in audit(run).findings] == ["lost", "lost"]  # by the fixture
    assert len(list(store.list("runs/whole/sample/data/"))) == 1


@pytest.mark.fault
def test_a_writer_that_wakes_up_after_its_twin_committed_adopts_the_twins_commit(
    store: LocalStore, tmp_path: Folder
) -> None:
    run = started(store)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    frozen = start(store, "shard", "0", "frozen", fault=f"after_data=wait:{fifo}")
    with open(fifo, "wb"):  # it stands between its data and its commit now
        _, (answer, attempt) = finish(start(store, "shard", "0", "twin"))
        assert answer == "won"
        before = run.commit("sample", 0)
        assert sweep(run).objects == 0  # same rows, same digest: its data is the twin's
    assert finish(frozen) == (0, ["adopted", attempt])
    assert run.commit("sample", 0) == before


BUILD_POINTS = [
    "after_spec",
    "before_input",
    "after_data@problems/1",
    "after_input",
    "after_data@estimate/1",
    "after_commit@label/0",
    "before_success",
    "after_success",
]


@pytest.mark.fault
@pytest.mark.parametrize("point", BUILD_POINTS)
def test_a_build_killed_anywhere_ends_as_if_it_had_not_been(
    store: LocalStore, tmp_path: Folder, point: str
) -> None:
    killing = f"{point}=kill-once:{tmp_path / 'killed'}"
    code, before = finish(start(store, "build", fault=killing))
    assert code == -signal.SIGKILL
    code, after = finish(start(store, "build", fault=killing))
    assert code == 0
    done = set(before[1::2])
    assert not done & set(after[1::2]), "a finished shard was repeated"
    quiet = finished(LocalStore.at(tmp_path / "quiet"))
    run = started(store)
    for stage in run.spec.stages:
        expected = [(commit.data_key, commit.drops) for commit in quiet.commits(stage)]
        assert [(commit.data_key, commit.drops) for commit in run.commits(stage)] == expected
    result = audit(run)
    assert (result.findings, result.finished) == ((), True)


@pytest.mark.fault
def test_two_builds_of_one_run_at_once_both_finish_with_one_result(
    store: LocalStore, tmp_path: Folder
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    first = start(store, "build", fault=f"after_data@problems/1=wait:{fifo}")
    with open(fifo, "wb"):
        second = start(store, "build")
        assert finish(second)[0] == 0
    assert finish(first)[0] == 0
    result = audit(started(store))
    assert (result.findings, result.finished) == ((), True)


@pytest.mark.fault
def test_a_process_killed_while_it_writes_leaves_only_whole_objects(store: LocalStore) -> None:
    writing = start(store, "write")
    assert writing.stdout is not None
    for _ in range(20):
        assert writing.stdout.readline() == "created\n"
    writing.send_signal(signal.SIGKILL)
    writing.communicate()
    entries = list(store.list("objects/"))
    assert len(entries) >= 20
    for key, _ in entries:
        assert hashlib.sha256(store.get(key)).hexdigest() == key.rpartition("-")[2]


@pytest.mark.fault
def test_a_disk_that_takes_no_more_is_unavailable_and_shows_nothing(store: LocalStore) -> None:
    code, output = finish(start(store, "full"))
    assert code == 0
    assert "objects/large" in " ".join(output)
    assert "large" in " ".join(output)
    assert list(store.list("")) == []
    assert list((store.root / ".partial").iterdir()) == []


def test_without_the_variable_a_fault_point_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    fault("after_data", "sample/0")
    monkeypatch.setenv(VARIABLE, "after_data@sample/1=kill;before_data=kill")
    fault("after_data", "sample/0")
