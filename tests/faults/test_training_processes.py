"""Trainings as real processes on Ray: workers that share the work, workers and drivers that die.

Invariant under test: whatever dies in the middle, the same command ends at the same losses.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.training.events import Place
from actors.training.loop import train
from launch.config import load_training
from storage.objects.local import LocalStore
from storage.trainings.training import Training, TrainingSpec
from tests.support.training_world import losses, notes_of, taught_run, tiny_base
from workflows.training.start import job_of, start_training, write_out

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(600)]

BIN = Path(sys.executable).parent
UPDATES = 5


class World:
    """A base, a finished run, and a configuration that trains 5 updates with 2 checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = LocalStore.at(folder / "store")
        tiny_base(folder / "base")
        taught_run(self.store)

    def command(self, name: str, **spread: Any) -> list[str | Path]:
        settings = {
            "run": "taught",
            "base": "./base",
            "name": name,
            "store": f"file://{self.folder}/store",
            "data": {"held_out": 0.2},
            "learning": {
                "epochs": 2, "batch": 8, "rate": 3e-3, "precision": "float32",
                "packing": False, "seed": 3,
            },
            "spread": {"workers": 1, "cpus_per_worker": 1, **spread},
            "rhythm": {"evaluate": 2, "checkpoint": 2},
        }  # fmt: skip
        config = self.folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(settings))
        return [BIN / "stepmill", "train", config, "--out", self.folder / f"{name}-model", "--json"]

    def train(self, name: str, fault: str = "", **spread: Any) -> Mapping[str, Any]:
        """Train to the end; returns what is said of it."""
        ended = subprocess.run(
            self.command(name, **spread),
            env=environment(fault), cwd=self.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        print(ended.stderr, ended.stdout, sep="\n-- standard output:\n")
        assert ended.returncode == 0, ended.stderr
        said: dict[str, Any] = json.loads(ended.stdout)
        return said | {"log": ended.stderr}

    def weights(self, name: str) -> dict[str, Any]:
        """The trained model's weights, as transformers loads them."""
        from transformers import AutoModelForCausalLM

        folder = self.folder / f"{name}-model"
        model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        assert not report["missing_keys"]
        assert type(model).__name__ == "Qwen2ForCausalLM"
        return {key: value.numpy() for key, value in model.state_dict().items()}

    def losses(self, name: str) -> list[float]:
        return losses(notes_of(Training(self.store, name, TrainingSpec("", "", "", {}))))


def environment(fault: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in os.environ if name != "RAY_ADDRESS"}
    return kept | {"STEPMILL_FAULT": fault, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def quiet(world: World) -> list[float]:
    """The losses of a training in this process, on one thread, that nothing happens to."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    config = load_training(Path(world.command("quiet")[2]))
    training = start_training(config, world.store)
    train(job_of(config, training), Place(), lambda event: None)
    torch.set_num_threads(before)
    model = training.model()
    assert model is not None
    write_out(training, model, world.folder / "quiet-model")
    return world.losses("quiet")


def test_two_workers_draw_the_loss_curve_of_one(world: World, quiet: list[float]) -> None:
    name = "two"
    world.train(name, workers=2)
    assert world.losses(name) == pytest.approx(quiet, rel=1e-5)
    one, two = (world.weights(folder) for folder in ("quiet", name))
    assert one.keys() == two.keys()
    for tensor in one:
        assert two[tensor] == pytest.approx(one[tensor], abs=1e-5), tensor


def test_a_worker_killed_in_mid_epoch_is_replaced_and_ends_at_the_same_loss(
    world: World, quiet: list[float], tmp_path: Path
) -> None:
    said = world.train("worker", fault=f"after_update@3/0=kill-once:{tmp_path}/killed")
    assert (tmp_path / "killed").exists()
    assert "continues after update 2" in said["log"]
    assert world.losses("worker") == quiet


def test_one_of_two_workers_killed_in_mid_epoch_takes_the_other_along_and_both_go_on(
    world: World, quiet: list[float], tmp_path: Path
) -> None:
    said = world.train("pair", fault=f"after_update@3/1=kill-once:{tmp_path}/killed", workers=2)
    assert (tmp_path / "killed").exists()
    assert "continues after update 2" in said["log"]
    assert world.losses("pair") == pytest.approx(quiet, rel=1e-5)


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there may be GPUs")
def test_sharding_without_gpus_is_refused(world: World) -> None:
    ended = subprocess.run(
        world.command("sharded", workers=2, strategy="fsdp"),
        env=environment(""), cwd=world.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "take ddp here" in ended.stderr.splitlines()[-1]


def test_a_driver_killed_in_mid_epoch_is_continued_by_the_same_command(
    world: World, quiet: list[float], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    driver = subprocess.Popen(
        world.command("driver"),
        env=environment(f"after_update@3/0=wait:{gate}"),
        cwd=world.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    with open(gate, "wb"):  # the worker stands in the middle of the second epoch now
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        said = world.train("driver")
    assert "continues after update 2" in said["log"]
    assert world.losses("driver") == quiet


def test_a_checkpoint_that_was_being_named_when_its_worker_died_is_no_checkpoint(
    world: World, quiet: list[float], tmp_path: Path
) -> None:
    fault = f"before_checkpoint@4=kill-once:{tmp_path}/killed"
    said = world.train("half", fault=fault)
    assert (tmp_path / "killed").exists()
    assert "continues after update 2" in said["log"]
    assert world.losses("half") == quiet


def test_a_finished_training_says_so_and_has_its_model_copied_again(
    world: World, quiet: list[float]
) -> None:
    before = (world.folder / "quiet-model" / "model.safetensors").read_bytes()
    again = world.train("quiet")
    assert again["updates"] == len(quiet) == UPDATES
    assert "starting workers" not in again["log"]
    command = [*world.command("quiet")[:-2], world.folder / "copy"]
    subprocess.run(command, env=environment(""), cwd=world.folder, check=True)
    assert (world.folder / "copy" / "model.safetensors").read_bytes() == before
