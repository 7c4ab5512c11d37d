"""A training's tokens are made by processors, before a worker is asked for; a lost task costs none.

GPUs are counted, not there. The training is cut off where its workers would be at work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from storage.fault_points import VARIABLE
from storage.objects.local import LocalStore
from tests.support.ray_nodes import RayNodes, ray_nodes
from tests.support.training_process import World
from tests.support.training_world import taught_run

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(600)]

LOOK = """
import json, ray
from ray.util.state import list_placement_groups, list_tasks
ray.init("auto", log_to_driver=False)
total, free = ray.cluster_resources(), ray.available_resources()
tasks = list_tasks(filters=[("state", "=", "RUNNING")], detail=True)
print(json.dumps({
    "gpus": [total.get("GPU"), free.get("GPU")],
    "groups": [group.state for group in list_placement_groups()],
    "tasks": [[task.name.rpartition(".")[2], task.required_resources] for task in tasks],
}))
"""


def look(ray: RayNodes) -> Mapping[str, Any]:
    """What the cluster is asked for just now."""
    said = subprocess.run(
        [sys.executable, "-c", LOOK], env=ray.environment | {"RAY_ADDRESS": ray.address},
        capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    found: Mapping[str, Any] = json.loads(said.splitlines()[-1])
    return found


def shards(store: LocalStore, run: str) -> list[str]:
    return [entry.key for entry in store.list(f"runs/{run}/tokens/") if "/shards/" in entry.key]


def test_nobody_holds_or_waits_for_a_gpu_while_tokens_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, gate = World(tmp_path), tmp_path / "gate"
    os.mkfifo(gate)
    monkeypatch.setenv(VARIABLE, f"after_tokens@0=wait:{gate}")
    with ray_nodes([{"GPU": 4}]) as ray:
        command = [*world.command("waits", workers=2), "--address", ray.address]
        training = subprocess.Popen(
            command, env=ray.environment | {"OMP_NUM_THREADS": "1"}, cwd=world.folder, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        with gate.open("wb"):  # the only shard is stored now, and its task waits
            seen = look(ray)
            assert len(shards(world.store, "taught")) == 1
            training.terminate()
            said = training.communicate(timeout=120)[1]
    assert training.returncode == 130, said
    assert seen["gpus"] == [4, 4] and seen["groups"] == []
    assert seen["tasks"] == [["_make", {"CPU": 1.0}]]
    assert "making tokens: 0 of 1 shards are there" in said
    assert "starting workers" not in said


def test_a_task_that_is_killed_leaves_what_it_stored_and_the_training_goes_on(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    taught_run(world.store, 700, "large")  # three shards
    said = world.train(
        "killed", fault=f"after_tokens@1=kill-once:{tmp_path}/killed", run="large", epochs=0.06
    )
    assert (tmp_path / "killed").exists()
    assert "what is missing is made again" in said["log"]
    assert "starting workers" in said["log"]
    before = shards(world.store, "large")
    again = world.train("again", run="large", epochs=0.06)
    assert "making tokens" not in again["log"]
    assert shards(world.store, "large") == before
