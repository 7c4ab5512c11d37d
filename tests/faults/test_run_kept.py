"""Real processes: a build stopped from another one, a run removed under it, and two at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from storage.audit import audit
from storage.errors import Removed
from storage.fault_points import VARIABLE
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.submitted import project

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(600)]


class Folder:
    """A working folder with a build, and a fifo at which its worker waits before a commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = project(folder / "project")
        self.url = f"file://{folder}/store"
        self.fifo = folder / "fifo"
        os.mkfifo(self.fifo)
        self.held = f"after_data@estimate/1=wait:{self.fifo}"

    def start(self, *words: str, fault: str = "") -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT), VARIABLE: fault, "RAY_ADDRESS": ""}
        command = [sys.executable, "-m", "launch", *words]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def said(self, *words: str) -> str:
        process = self.start(*words, "--store", self.url)
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        return out

    def build(self, fault: str = "") -> subprocess.Popen[str]:
        return self.start("build", "build.yaml", fault=fault)

    def listed(self) -> dict[str, object]:
        (line,) = self.said("runs", "--json").splitlines()
        found: dict[str, object] = json.loads(line)
        return found

    def run(self) -> Run:
        return Run.open(open_store(self.url), "r")


@pytest.fixture
def here(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def committed(run: Run) -> dict[tuple[str, int], str]:
    return {(s, c.shard): c.attempt for s in run.spec.stages for c in run.commits(s)}


def last_line(said: str) -> str:
    return [line for line in said.splitlines() if line.startswith("stepmill: ")][-1]


def ended(process: subprocess.Popen[str], code: int) -> str:
    said = process.communicate(timeout=240)[1]
    assert process.returncode == code, said
    return said


def test_a_build_is_stopped_from_another_process_and_the_same_command_goes_on(here: Folder) -> None:
    building = here.build(here.held)
    with open(here.fifo, "wb"):  # its worker stands before a commit now
        stopping = here.start("stop", "r", "--store", here.url)
        assert stopping.stdout is not None
        assert "asked to stop" in stopping.stdout.readline()
        assert here.listed()["state"] == "at work"
    said = ended(building, 130)
    assert "stepmill: run r was stopped by " in last_line(said)
    assert "the same command continues: stepmill build build.yaml" in last_line(said)
    assert "has ended" in stopping.communicate(timeout=120)[0]
    listed = here.listed()
    assert listed["state"] == "stopped"
    assert "was stopped by" in str(listed["said"])
    before = committed(here.run())
    ended(here.build(), 0)
    assert before.items() <= committed(here.run()).items(), "a committed shard was made again"
    result = audit(here.run())
    assert (result.findings, result.finished) == ((), True)
    assert not list(here.run().store.list("runs/r/drivers/"))
    assert "nobody is at work" in here.said("stop", "r")


def test_a_live_build_of_a_removed_run_ends_with_one_line_and_nothing_comes_back(
    here: Folder,
) -> None:
    building = here.build(here.held)
    with open(here.fifo, "wb"):
        said = here.said("remove", "r", "--yes")
        assert "at work on it" in said
        assert "run r is removed" in said
    assert "run 'r' was removed by " in last_line(ended(building, 2))
    store = open_store(here.url)
    assert [entry.key for entry in store.list("runs/")] == ["runs/r/removed.json"]
    assert "take another name" in last_line(ended(here.build(), 2))
    with pytest.raises(Removed):
        Run.open(store, "r")
    here.said("remove", "r", "--yes", "--free-name")
    ended(here.build(), 0)
    assert audit(here.run()).findings == ()


def test_a_build_says_that_another_one_is_at_work(here: Folder) -> None:
    first = here.build(here.held)
    assert first.stderr is not None
    other = here.folder.parent / "other"
    os.mkfifo(other)
    with open(here.fifo, "wb"):
        second = here.build(f"after_data@estimate/1=wait:{other}")
        with open(other, "wb"):  # both stand before the commit of one shard
            said = read_until(first.stderr, "another build of run r is at work")
            assert "stepmill stop r" in said
        ended(second, 0)
    ended(first, 0)
    result = audit(here.run())
    assert (result.findings, result.finished) == ((), True)


def read_until(lines: Iterable[str], words: str) -> str:
    said = ""
    for line in lines:
        said += line
        if words in line:
            return said
    raise AssertionError(said)
