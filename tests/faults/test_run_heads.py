"""A node whose raylet is frozen while its worker goes on writing, and a head that dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.audit import audit
from storage.fault_points import VARIABLE
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.ray_nodes import RayNodes, ray_nodes
from tests.support.submitted import BIN, project
from workflows.runs.starting import start_run

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
QUICK_TO_NOTICE = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory whose scripts every process of the cluster finds."""
    made = project(tmp_path / "project")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name, value in QUICK_TO_NOTICE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(made)
    yield made


def opened(folder: Path) -> Run:
    return Run.open(open_store(f"file://{folder.parent}/store"), "r")


def is_whole(run: Run) -> None:
    result = audit(run)
    assert (result.findings, result.finished) == ((), True)


def test_a_zombie_of_a_frozen_node_learns_that_its_twin_committed(folder: Path) -> None:
    """The raylet stands still (SIGSTOP), its worker does not: it wants to commit an hour later."""
    from launch.config import load

    config = load(folder / "build.yaml")
    run = start_run(config, open_store(config.store), None)
    fifos = {point: folder / point for point in ("after_data", "after_commit")}
    for fifo in fifos.values():
        os.mkfifo(fifo)
    held = ";".join(f"{point}@estimate/0=wait:{fifo}" for point, fifo in fifos.items())
    with ray_nodes() as ray:
        ray.add_node({"place": 8}, environment={VARIABLE: held})
        driver = driving(ray, folder, config.store)
        with fifos["after_data"].open("wb"):  # its data is stored, its commit is not
            ray.add_node({"place": 8})
            for pid in ray.pids(1, "raylet/raylet"):
                os.kill(pid, signal.SIGSTOP)
            said, trouble = driver.communicate(timeout=400)
            assert driver.returncode == 0, trouble[-2000:]
            stands = run.commit("estimate", 0)
        with fifos["after_commit"].open("wb"):  # the zombie has come this far
            assert run.commit("estimate", 0) == stands
        for pid in ray.pids(1, "raylet/raylet"):
            os.kill(pid, signal.SIGCONT)
        events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        lost = [e for e in events if e["what"] == "end" and not e["ok"]]
        assert any("WorkerLost" in event["cause"] for event in lost)
    is_whole(run)


def driving(ray: RayNodes, folder: Path, store: str) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "tests.faults.chaos_driver", str(folder / "build.yaml"), store,
        ray.address, "3",
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=ROOT, env=ray.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_a_head_that_dies_stops_the_run_with_3_and_another_cluster_continues_it(
    folder: Path,
) -> None:
    command = [BIN / "stepmill", "build", "build.yaml", "--address"]
    with ray_nodes([{"sandbox": 1}]) as ray:
        building = subprocess.Popen(
            [*command, ray.address], cwd=folder, env=ray.environment, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert building.stderr is not None
        seen = ""
        for line in building.stderr:
            seen += line
            if "policy is up" in line:
                break
        for pid in ray.pids(0, "gcs_server"):
            os.kill(pid, signal.SIGKILL)
        said = seen + building.communicate(timeout=300)[1]
        assert building.returncode == 3, said
        assert "head" in said
        assert "the same command continues" in said
    with ray_nodes([{"sandbox": 1}]) as ray:
        again = subprocess.run(
            [*command, ray.address], cwd=folder, env=ray.environment, text=True,
            capture_output=True, timeout=400,
        )  # fmt: skip
        assert again.returncode == 0, again.stderr
    is_whole(opened(folder))
