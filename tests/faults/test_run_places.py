"""Engines on a real Ray cluster whose GPUs are only counted: placed, or refused in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.errors import NothingFound
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.ray_nodes import RayNodes, ray_nodes, training
from tests.support.submitted import BIN, project
from tests.support.tiny_model import make_tiny_model

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(900)]

OTHERS = """
import sys, ray
ray.init(sys.argv[1], logging_level="ERROR", log_to_driver=False)

@ray.remote
class Trainer:
    def there(self):
        return True

held = [
    Trainer.options(num_cpus=0, num_gpus=int(place[0]), resources={place[1:]: 1}).remote()
    for place in sys.argv[2:]
]
print("held", ray.get([one.there.remote() for one in held]), flush=True)
for _ in sys.stdin:  # a line: give the first one's GPUs back
    ray.kill(held.pop(0))
"""


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[RayNodes]:
    """Two nodes of 8 GPUs each."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        with ray_nodes([{"GPU": 8, "left": 9}, {"GPU": 8, "right": 9}]) as ray:
            yield ray
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


class Others:
    """Another job, which holds GPUs: `4left` are four of the node `left`."""

    def __init__(self, ray: RayNodes, *places: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHERS, ray.address, *places],
            env=ray.environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert "held" in self.process.stdout.readline()

    def give_back(self) -> None:
        """The first one's."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def __enter__(self) -> Others:
        return self

    def __exit__(self, *how: object) -> None:
        self.process.kill()
        self.process.wait()


def driving(ray: RayNodes, roles: dict[str, float], patience: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.places_driver", ray.address, json.dumps(roles),
         "--patience", str(patience)],
        cwd=ROOT, env=ray.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def said(line: str) -> dict[str, Any]:
    return json.loads(line) if line.startswith("{") else {"what": ""}


def drive(ray: RayNodes, roles: dict[str, float]) -> list[dict[str, Any]]:
    out, error = driving(ray, roles, 600).communicate(timeout=100)
    lines = [said(line) for line in out.splitlines()]
    assert sum(line["what"] == "committed" for line in lines) == 8 * len(roles), error
    return lines


def test_engines_of_four_gpus_and_small_ones_find_their_nodes(two_nodes: RayNodes) -> None:
    lines = drive(two_nodes, {"small": 1, "large": 4})
    placed = [line for line in lines if line["what"] == "placed"]
    assert all(line["node"] == line["meant"] for line in placed)
    sizes = {len(line["gpus"]) for line in lines if line["what"] == "committed"}
    assert sizes == {1, 4}, "all GPUs of an engine are of its node"


def test_three_models_share_one_gpu(two_nodes: RayNodes) -> None:
    lines = drive(two_nodes, {"policy": 0.3, "completer": 0.3, "rationale": 0.3})
    used = {(line["node"], *line["gpus"]) for line in lines if line["what"] == "committed"}
    assert len(used) <= 4, "twelve engines of 0.3 GPUs at most"


def test_on_a_busy_cluster_the_run_waits_and_goes_on_when_four_gpus_of_a_node_are_free(
    two_nodes: RayNodes,
) -> None:
    with Others(two_nodes, "1left", "4left", "7right") as others:  # 3 and 1 are free
        run = driving(two_nodes, {"large": 4}, 600)
        assert run.stdout is not None
        begun = said(run.stdout.readline())
        assert sorted(begun["slots"]["engines"].values()) == [1, 3]
        others.give_back()
        out, error = run.communicate(timeout=100)
        assert run.returncode == 0, error
        assert sum(said(line)["what"] == "committed" for line in out.splitlines()) == 8


def test_a_run_that_finds_no_place_stops_in_one_line_that_says_who_holds_them(
    two_nodes: RayNodes,
) -> None:
    with Others(two_nodes, "5left", "7right"):
        began = time.monotonic()
        run = driving(two_nodes, {"large": 4}, patience=15)
        out, error = run.communicate(timeout=120)
        assert run.returncode == 3, error
        assert time.monotonic() - began < 60
    line = [line for line in error.splitlines() if line.startswith("error: ")][-1]
    print(line)
    assert "no engine found a place in 15 seconds" in line
    assert "models.large needs 4 GPU of one node" in line
    assert "3 of 8 GPU" in line
    assert "1 of 8 GPU" in line
    assert "(Trainer) 12 GPU" in line
    assert not any(said(line)["what"] == "placed" for line in out.splitlines())


def build(ray: RayNodes, folder: Path, model: dict[str, Any], cluster: dict[str, Any]) -> str:
    """What `stepmill build` says at its end, of a policy that is a real model; and its code."""
    file = folder / "build.yaml"
    config = json.loads(file.read_text())
    config["models"]["policy"] = {"kind": "vllm", "model": "./model"} | model
    config["cluster"] = config.get("cluster", {}) | cluster
    file.write_text(json.dumps(config))
    make_tiny_model(folder / "model")
    done = subprocess.run(
        [BIN / "stepmill", "build", "build.yaml", "--address", ray.address],
        cwd=folder, env=ray.environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    print(done.stderr[-3000:])
    return f"{done.returncode}: {done.stderr.strip().splitlines()[-1]}"


def test_a_model_larger_than_any_node_is_refused_at_once(
    two_nodes: RayNodes, tmp_path: Path
) -> None:
    folder = project(tmp_path / "project")
    ended = build(two_nodes, folder, {"tensor_parallel": 16}, {})
    assert ended.startswith("2: ")
    assert "models.policy needs 16 GPU of one node, which none has" in ended
    assert "8 of 8 GPU" in ended
    with pytest.raises(NothingFound):
        Run.open(open_store(f"file://{tmp_path}/store"), "r")


def test_a_model_is_not_opened_on_processors_of_a_cluster_whose_gpus_are_still_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = project(tmp_path / "project")
    with ray_nodes([{"place": 1}]) as ray:
        ended = build(ray, folder, {}, {"cpu_model_gib": 0, "place_patience_s": 3})
        assert ended.startswith("3: ")
        assert "GPUs for models.policy (0.0 GiB, cluster.cpu_model_gib is 0)" in ended
        run = driving(ray, {"large": 4}, 600)
        assert run.stdout is not None
        ray.add_node({"GPU": 4})
        out, error = run.communicate(timeout=100)
        assert run.returncode == 0, error
        assert sum(said(line)["what"] == "committed" for line in out.splitlines()) == 8


def test_a_training_waits_for_its_gpus_and_its_workers_stand_where_they_came_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with ray_nodes([{"place": 1}]) as ray:
        train = training(ray, 2, 0, 300)
        assert train.stderr is not None
        line = next(line for line in train.stderr if "waiting for nodes" in line)
        assert "waiting for nodes: 2 free GPUs (no node has GPU)" in line
        ray.add_node({"GPU": 1})
        line = next(line for line in train.stderr if "waiting for nodes" in line)
        assert "waiting for nodes: 2 free GPUs (free: " in line
        assert "of 1 GPU)" in line
        ray.add_node({"GPU": 1})
        out, error = train.communicate(timeout=200)
        assert train.returncode == 0, error
        placed = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        assert [worker["gpus"] for worker in placed] == [[0], [0]]
        assert len({worker["node"] for worker in placed}) == 2


def test_a_training_that_no_node_can_hold_is_refused_and_one_that_finds_no_gpus_stops(
    two_nodes: RayNodes,
) -> None:
    said = {}
    for cores, workers in ((3, 1), (2, 9)):
        train = training(two_nodes, workers, cores, patience=5)
        said[cores] = train.communicate(timeout=100)[1].splitlines()[-1]
        print(said[cores])
        assert train.returncode == (2 if cores == 3 else 3)
    assert "cpus_per_worker is 3, and no node with GPUs has more than 2 cores" in said[3]
    assert "no nodes with 9 free GPUs with 2 cores each (free: " in said[2]
    assert "8 of 8 GPU" in said[2]
