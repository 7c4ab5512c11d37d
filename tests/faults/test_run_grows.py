"""A build on a cluster that grows: `ray_cluster.yaml`, with nodes on this machine instead of AWS.

Ray's autoscaler is real, and so are its nodes; only the cloud that gives them is Ray's own fake.
That one never says that a node is idle, so nothing here shows that nodes end.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.autoscaler._private.util import prepare_config

from storage.fault_points import VARIABLE
from tests.support.ray_nodes import RayNodes, ended_well, ray_nodes, started, training
from tests.support.submitted import BIN, project

ROOT = Path(__file__).parents[2]
NO_WISH = "From request_resources:\n (none)"


def on_this_machine(address: str) -> dict[str, Any]:
    """The launcher's file for a cloud that is this machine: a head, and `completer` nodes."""
    config: dict[str, Any] = prepare_config(yaml.safe_load((ROOT / "ray_cluster.yaml").read_text()))
    config["provider"] = {
        "type": "fake_multinode", "gcs_address": address, "head_node_id": FAKE_HEAD_NODE_ID,
        "launch_multiple": True, "disable_node_updaters": True,
        "disable_launch_config_check": True, "foreground_node_launch": True,
    }  # fmt: skip
    types = config["available_node_types"]
    config["head_node_type"] = "ray.head.default"
    config["available_node_types"] = {
        "ray.head.default": types["head"] | {"node_config": {}},
        "completer": types["completer"]
        | {
            "resources": {"GPU": 4, "completer": 4, "CPU": 1, "object_store_memory": 80_000_000},
            "node_config": {},
        },
    }
    return config


def status(ray: RayNodes) -> str:
    """What `ray status` says."""
    return subprocess.run(
        [BIN / "ray", "status", "--address", ray.address],
        env=ray.environment, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip


def seen(ray: RayNodes, *wanted: str) -> None:
    """Returns once the status holds all that is wanted."""
    while not all(words in status(ray) for words in wanted):
        time.sleep(0.5)  # between two looks; what ends them is what is seen


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_a_build_asks_for_the_nodes_that_it_was_told_to_and_gives_the_wish_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(tmp_path / "project")
    file = folder / "build.yaml"
    config = json.loads(file.read_text())
    cluster = config.get("cluster", {}) | {"ask": {"completer": 8}}
    file.write_text(json.dumps(config | {"cluster": cluster}))
    held = tmp_path / "held"
    os.mkfifo(held)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(VARIABLE, f"after_commit@export/3=wait:{held}")
    with ray_nodes(autoscaled=on_this_machine) as ray:
        seen(ray, "00001: completer", NO_WISH)  # `min_workers`
        assert "00002: completer" not in status(ray)
        building = started(ray, [BIN / "stepmill", "build", "build.yaml"], folder)
        with held.open("wb"):  # opens when the last shard is committed, and holds it there
            seen(ray, "{'completer': 1.0}: 8 from request_resources()", "00002: completer")
        ended_well(building)
        seen(ray, NO_WISH)


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(600)
def test_a_training_has_the_autoscaler_bring_the_gpu_nodes_that_are_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with ray_nodes(autoscaled=on_this_machine) as ray:
        seen(ray, "00001: completer", NO_WISH)  # one core, so that a node has room for one worker
        assert "00002: completer" not in status(ray)
        train = training(ray, 2, 1, patience=400)
        seen(ray, "2 from request_resources()", "00002: completer")
        out, error = train.communicate(timeout=300)
        assert train.returncode == 0, error
        placed = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        assert len({worker["node"] for worker in placed}) == 2
        seen(ray, NO_WISH)
