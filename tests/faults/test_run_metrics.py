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
from tests.faults.test_run_submitted import BIN, project
from tests.ray_nodes import RayNodes, ray_nodes

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


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_prometheus_sees_them_while_a_build_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(tmp_path / "project")
    held = folder / "held"
    os.mkfifo(held)
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "1000")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(
        VARIABLE,
        f"after_data@sample/0=kill-once:{tmp_path / 'killed'};after_commit@export/3=wait:{held}",
    )
    of_builds = {name for name, (_, tags) in (COUNTERS | GAUGES).items() if "run" in tags}
    wanted = {f"ray_{name}" for name in of_builds - RARE}
    with ray_nodes([{"sandbox": 1}]) as ray:
        building = subprocess.Popen(
            [BIN / "stepmill", "build", "build.yaml", "--address", ray.address],
            cwd=folder, env=ray.environment, text=True, stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        with held.open("wb"):  # opens when the last shard is committed, and holds it there
            text, missing = "", wanted
            while missing:
                assert building.poll() is None
                time.sleep(0.2)  # between two looks; what ends them is what is seen
                text = scraped(ray)
                missing = {
                    name for name in wanted if not re.search(rf"^{name}(_total)?{{", text, re.M)
                }
        rows = [line for line in text.splitlines() if line.startswith("ray_stepmill_rows")]
        assert any('run="r"' in line and 'stage="sample"' in line for line in rows), rows
        said = building.communicate(timeout=300)[1]
        assert building.returncode == 0, said
