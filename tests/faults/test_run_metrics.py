"""The numbers that docs/cluster.md promises, as Prometheus would read them during a build."""

from __future__ import annotations

import os
import re
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from actors.metrics import COUNTERS, GAUGES
from storage.fault_points import VARIABLE
from tests.support.ray_nodes import RayNodes, ended_well, ray_nodes, started
from tests.support.submitted import BIN, project
from tests.support.training_process import UPDATES, World

ROOT = Path(__file__).parents[2]
RARE = {"stepmill_model_switches", "stepmill_workers_replaced"}
"""Not shown before it happened once, and nothing in this build makes it happen."""


def test_every_metric_is_documented_with_its_tags() -> None:
    rows = re.findall(
        r"^\| `(stepmill_\w+)` \| (\w+) \| ([\w, ]+) \|",
        (ROOT / "docs/cluster.md").read_text(),
        re.MULTILINE,
    )
    documented = {name: (kind, tuple(tags.split(", "))) for name, kind, tags in rows}
    assert documented == {
        name: (kind, tags)
        for kind, metrics in (("counter", COUNTERS), ("gauge", GAUGES))
        for name, (_, tags) in metrics.items()
    }


def scraped(ray: RayNodes) -> str:
    texts = []
    for port in ray.metrics_ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as reply:
            texts.append(reply.read().decode())
    return "\n".join(texts)


def of(tag: str) -> set[str]:
    """The metrics of builds (`run`) or of trainings (`training`)."""
    return {name for name, (_, tags) in (COUNTERS | GAUGES).items() if tag in tags}


def seen(ray: RayNodes, working: subprocess.Popen[str], wanted: set[str]) -> str:
    """What is scraped once every wanted metric is in it."""
    while True:
        assert working.poll() is None
        time.sleep(0.2)  # between two looks; what ends them is what is seen
        text = scraped(ray)
        if all(re.search(rf"^ray_{name}(_total)?{{", text, re.M) for name in wanted):
            return text


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipe at which a fault can make a process wait; Ray tells its numbers every second."""
    os.mkfifo(tmp_path / "held")
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "1000")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path / "held"


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_prometheus_sees_them_while_a_build_runs(
    tmp_path: Path, held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(tmp_path / "project")
    monkeypatch.setenv(
        VARIABLE,
        f"after_data@sample/0=kill-once:{tmp_path / 'killed'};after_commit@export/3=wait:{held}",
    )
    with ray_nodes([{"sandbox": 1}]) as ray:
        building = started(ray, [BIN / "stepmill", "build", "build.yaml"], folder)
        with held.open("wb"):  # opens when the last shard is committed, and holds it there
            text = seen(ray, building, of("run") - RARE)
        rows = [line for line in text.splitlines() if line.startswith("ray_stepmill_rows")]
        assert any('run="r"' in line and 'stage="sample"' in line for line in rows), rows
        ended_well(building)


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_prometheus_sees_a_training_while_it_runs(
    tmp_path: Path, held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "world")
    monkeypatch.setenv(VARIABLE, f"after_update@{UPDATES}/0=wait:{held}")
    with ray_nodes([{}]) as ray:
        training = started(ray, world.command("t"), tmp_path)
        with held.open("wb"):  # opens at the last update, and holds it there
            steps = [-1.0]
            while steps != [UPDATES - 1]:  # a scrape may be older than the update it waits at
                text = seen(ray, training, of("training"))
                found = re.findall(r"^ray_stepmill_train_step{.*} ([\d.]+)$", text, re.M)
                steps = [float(step) for step in found]
                assert len(steps) == 1
        ended_well(training)
