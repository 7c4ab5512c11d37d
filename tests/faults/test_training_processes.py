"""Trainings as real processes on Ray: workers that share the work, workers and drivers that die.

Invariant under test: whatever dies in the middle, the same command ends at the same losses.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from actors.training.events import Place
from actors.training.loop import train
from launch.config import load_training
from tests.support.training_process import UPDATES, World, environment
from tests.support.training_world import prepared
from workflows.training.start import start_training, write_out

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(600)]


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
    train(prepared(config, training), Place(), lambda event: None)
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


def test_two_workers_that_shard_draw_the_curve_of_one(world: World, quiet: list[float]) -> None:
    world.train("sharded", workers=2, strategy="fsdp")
    assert world.losses("sharded") == pytest.approx(quiet, rel=1e-5)


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
