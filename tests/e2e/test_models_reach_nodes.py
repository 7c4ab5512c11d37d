"""Models reach where they are used: from the hub once per node, from a training to any machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from storage.objects.local import LocalStore
from storage.runs.run import Run
from storage.trainings.training import Training
from tests.support.hub_server import Hub, serving
from tests.support.training_world import DEMO, taught_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
NAME = "org/tiny"
RESPONSE = {"id": "a", "problem": "What is 2 + 3?", "steps": ["2 + 3 = 5."], "label": -1}


def environment(folder: Path, hub: str = "http://127.0.0.1:9") -> dict[str, str]:
    """A machine of its own: nothing is cached, and there is no other hub."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "STEPMILL", "RAY_"))}
    return kept | {
        "HF_HOME": str(folder / "hf"),
        "HF_ENDPOINT": hub,
        "STEPMILL_CACHE": str(folder / "cache"),
        "PYTHONPATH": str(ROOT),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }


def train_settings(folder: Path, base: str) -> dict[str, Any]:
    return {
        "run": "taught", "base": base, "name": "made", "store": f"file://{folder}/store",
        "learning": {"epochs": 1, "batch": 8, "precision": "float32", "packing": False},
        "spread": {"workers": 1, "cpus_per_worker": 1}, "data": {"held_out": 0.2},
    }  # fmt: skip


def test_two_engines_and_a_training_of_one_node_fetch_a_model_once(tmp_path: Path) -> None:
    taught_run(LocalStore.at(tmp_path / "store"))
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(train_settings(tmp_path, NAME)))
    with serving(Hub()) as hub:
        commit = hub.push_folder(NAME, DEMO)
        hub.open.clear()
        engine = ["engine", NAME, commit]
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.hub_process", *asked],
                env=environment(tmp_path, hub.url), cwd=ROOT, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True,
            )
            for asked in (engine, engine, ["train", str(tmp_path)])
        ]  # fmt: skip
        try:
            assert hub.sending.wait(120)
            hub.open.set()
            ended = [process.communicate(timeout=300) for process in started]
        finally:
            for process in started:
                process.kill()
        for process, (_, trouble) in zip(started, ended, strict=True):
            assert process.returncode == 0, trouble
        first, second, updates = (json.loads(out.splitlines()[-1]) for out, _ in ended)
        needed = {file.name for file in DEMO.iterdir() if file.suffix != ".md"}
        assert hub.downloads() == dict.fromkeys(needed, 1)
    assert first == second
    assert updates > 0
    training = Training.find(LocalStore.at(tmp_path / "store"), "made")
    assert training is not None
    assert training.spec.base == f"{NAME}@{commit}"


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "stepmill", *arguments],
        env=environment(folder), cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_what_was_trained_is_scored_from_another_machine(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    shutil.copytree(DEMO, there / "base")
    taught_run(LocalStore.at(there / "store"))
    (there / "train.yaml").write_text(yaml.safe_dump(train_settings(there, "./base")))
    made = run(["train", "train.yaml", "--json"], there)
    assert made.returncode == 0, made.stderr
    for left in ("base", ".stepmill", "cache", "hf"):
        shutil.rmtree(there / left, ignore_errors=True)
    (here / "responses.jsonl").write_text(json.dumps(RESPONSE) + "\n")
    store = f"file://{there}/store"
    asked = ["--store", store, "--mode", "cot", "--name", "scored", "--json"]
    scored = run(["score", "training:made", "responses.jsonl", *asked], here)
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["responses"] == 1
    found = Run.open(LocalStore.at(there / "store"), "scored")
    assert found.spec.models["verifier"].startswith("made@")
    assert found.success() is not None
    assert list((here / "cache" / "models").glob("made-*/model.safetensors"))
    by_url = run(["score", f"{store}/trainings/made", "responses.jsonl", *asked], here)
    assert by_url.returncode == 0, by_url.stderr
    assert "made on" not in by_url.stderr, "what is finished fetches nothing"


NODE = """
import asyncio, json, sys
from actors.engines.contract import EngineSettings
from actors.workers.ray_workers import ray_session
from actors.workers.ray_models import NodeModels
from storage.errors import UserError

name, commit = sys.argv[1:]
engines = {
    "policy": EngineSettings(model=name, revision=commit),
    "completer": EngineSettings(model=name, revision=commit),
    "judge": EngineSettings(model="org/absent"),
    "scripted": EngineSettings(kind="scripted", model="m"),
}
said = []

async def fetch():
    models = NodeModels(engines, said.append)
    await asyncio.gather(models.ready("policy", "CPU"), models.ready("completer", "CPU"))
    await models.ready("policy", "CPU")
    await models.ready("scripted", "CPU")
    await models.ready("policy", "GPU")  # no node has any yet
    try:
        await models.ready("judge", "CPU")
    except UserError as error:
        return str(error)

with ray_session(None, 0):
    trouble = asyncio.run(fetch())
print(json.dumps([said, trouble]))
"""


def test_a_node_is_given_its_models_before_workers_are_started_there(tmp_path: Path) -> None:
    with serving(Hub()) as hub:
        commit = hub.push_folder(NAME, DEMO)
        ended = subprocess.run(
            [sys.executable, "-c", NODE, NAME, commit],
            env=environment(tmp_path, hub.url), cwd=ROOT, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        said, trouble = json.loads(ended.stdout.splitlines()[-1])
        assert set(hub.downloads().values()) == {1}
    assert any(line.startswith(f"{NAME} on ") and " of 0.00 GB" in line for line in said), said
    assert trouble.startswith("model org/absent: the hub has no model of that name")
