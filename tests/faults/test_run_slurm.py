"""launch/slurm.sh on a real Slurm of one node: a build that is cancelled, stopped, continued."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.config import load
from storage.audit import audit
from storage.fault_points import VARIABLE
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.ray_build import digests
from tests.support.scripted_build import Build
from tests.support.slurm_node import SlurmNode, slurm_node
from tests.support.submitted import project

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch/slurm.sh"


def test_outside_of_a_job_it_says_how_it_is_submitted() -> None:
    without = {name: value for name, value in os.environ.items() if name != "SLURM_JOB_ID"}
    said = subprocess.run([SCRIPT, "build.yaml"], env=without, capture_output=True, text=True)
    assert said.returncode == 2
    assert said.stderr.startswith("usage: sbatch")


@pytest.fixture
def slurm() -> Iterator[SlurmNode]:
    with slurm_node() as node:
        yield node


class Submitted:
    """A scripted build as a job, held at a commit in its middle."""

    def __init__(self, slurm: SlurmNode, folder: Path) -> None:
        self._slurm = slurm
        self._folder = project(folder / "project")
        self._store = f"file://{folder}/store"
        self._held = folder / "held"
        os.mkfifo(self._held)
        self._environment = {
            "STEPMILL_VENV": sys.prefix,
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
            "METRICS_PORT": "0",
        }
        self.job = ""

    def submit(self, fault: str = "", *options: str) -> None:
        self.job = self._slurm.submit(
            [*options, str(SCRIPT), "build.yaml"], self._folder,
            self._environment | {VARIABLE: fault},
        )  # fmt: skip

    def ended_in_the_middle(self, *words: str) -> dict[str, bytes]:
        """The commits when `scancel` with these words ended the job, in the middle of a stage."""
        self.submit(f"after_commit@estimate/0=wait:{self._held}")
        with self._held.open("wb"):  # opens when a worker has got there, and holds it there
            self._slurm.run("scancel", *words, self.job)
            self._slurm.until(self.job, "CANCELLED", "FAILED", "PENDING")
        before = self.commits()
        assert "estimate/commits/000000.json" in before
        assert not any(name.startswith("export/") for name in before)
        return before

    def commits(self) -> dict[str, bytes]:
        root = self._folder.parent / "store/runs/r"
        return {str(f.relative_to(root)): f.read_bytes() for f in root.glob("*/commits/*.json")}

    def completed(self, before: dict[str, bytes]) -> None:
        """It ends well, nothing is made again, and its rows are those of a quiet build."""
        ended = self._slurm.until(self.job, "COMPLETED", "FAILED", "CANCELLED")
        assert ended["JobState"] == "COMPLETED", self.said()
        after = self.commits()
        assert {name: after[name] for name in before} == before
        run = Run.open(open_store(self._store), "r")
        found = audit(run)
        assert (found.findings, found.finished) == ((), True)
        quiet = Build(load(self._folder / "build.yaml", store=f"{self._store}-quiet"))
        asyncio.run(quiet.work())
        assert digests(run) == digests(quiet.run)

    def said(self) -> str:
        return (self._folder / f"slurm-{self.job}.out").read_text()


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("words", "state"),
    [
        pytest.param((), "CANCELLED", id="with all that runs in it"),
        pytest.param(("--batch", "--signal=TERM"), "FAILED", id="asked to stop"),
    ],
)
def test_a_cancelled_build_is_continued_by_the_same_command(
    slurm: SlurmNode, tmp_path: Path, words: tuple[str, ...], state: str
) -> None:
    build = Submitted(slurm, tmp_path)
    before = build.ended_in_the_middle(*words)
    assert slurm.job(build.job)["JobState"] == state, build.said()
    if words:
        assert slurm.job(build.job)["ExitCode"] == "130:0"
        assert "the same sbatch command continues it" in build.said()
    build.submit()
    build.completed(before)


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_a_build_whose_time_is_up_is_queued_again_and_goes_on(
    slurm: SlurmNode, tmp_path: Path
) -> None:
    build = Submitted(slurm, tmp_path)
    before = build.ended_in_the_middle("--batch", "--signal=USR1")
    assert slurm.job(build.job)["Restarts"] == "1"
    # Slurm waits for two minutes, since what is left of the first start would end the second.
    slurm.until_idle()
    slurm.run("scontrol", "update", f"JobId={build.job}", "StartTime=now")
    build.completed(before)


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_ray_comes_up_on_every_node_of_a_job_and_the_build_begins_when_all_are_there(
    tmp_path: Path,
) -> None:
    with slurm_node(nodes=2) as slurm:
        build = Submitted(slurm, tmp_path)
        build.submit("", "--nodes=2")
        build.completed({})
        assert slurm.job(build.job)["NumNodes"] == "2"
        assert build.said().count("Ray runtime started") == 2
