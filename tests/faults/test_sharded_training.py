"""Sharded training (FSDP2) by two processes with gloo: the curve of one, checkpoints and all.

What GPUs add to this (NCCL, their kernels, their memory) is not shown here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch.multiprocessing.spawn import ProcessException

from actors.training.events import Place
from actors.training.loop import train
from actors.training.settings import (
    AdapterSettings,
    LearningSettings,
    RhythmSettings,
    SpreadSettings,
)
from storage.objects.local import LocalStore
from storage.trainings.training import Training
from tests.support.sharded_workers import train_together
from tests.support.training_world import losses, notes_of, prepared, taught_run, tiny_base
from workflows.training.settings import DataSettings, TrainConfig
from workflows.training.start import start_training, write_out

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(600)]
LEARNING = LearningSettings(
    epochs=2, batch=8, rate=3e-3, precision="float32", packing=False, seed=3
)
"""Without packing a conversation is a micro-batch: four of each worker in an update."""
SHARDED = SpreadSettings(workers=2, strategy="fsdp", micro_tokens=4096)
COPIES = replace(SHARDED, strategy="ddp")


class World:
    """A base, a finished run, and a training on one process to compare with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = LocalStore.at(folder / "store")
        tiny_base(folder / "base")
        taught_run(self.store)
        alone = self.training("alone", SpreadSettings(micro_tokens=4096))
        train(prepared(*alone), Place(), lambda event: None)
        self.alone = alone[1]

    def training(
        self, name: str, spread: SpreadSettings = SHARDED, learning: LearningSettings = LEARNING
    ) -> tuple[TrainConfig, Training]:
        config = TrainConfig(
            run="taught", base=str(self.folder / "base"), name=name, store=self.store.url,
            data=DataSettings(held_out=0.2), learning=learning, spread=spread,
            rhythm=RhythmSettings(evaluate=2, checkpoint=2),
        )  # fmt: skip
        return config, start_training(config, self.store)

    def shard(self, name: str, **changes: Any) -> tuple[Training, list[str]]:
        """Train on two processes; the training, and what the first of them said."""
        config, training = self.training(name, **changes)
        said = self.folder / f"{name}.said"
        said.unlink(missing_ok=True)
        train_together(prepared(config, training), 2, str(said))
        return training, said.read_text().splitlines()

    def weights(self, training: Training) -> dict[str, Any]:
        """The trained model's weights, as transformers loads them."""
        from transformers import AutoModelForCausalLM

        folder = self.folder / f"{training.name}-model"
        if not folder.exists():
            model = training.model()
            assert model is not None
            write_out(training, model, folder)
        loaded, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        assert not report["missing_keys"]
        return {key: value.numpy() for key, value in loaded.state_dict().items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("sharded"))


def curves(training: Training) -> tuple[list[float], ...]:
    notes = notes_of(training)
    return tuple(losses(notes, name) for name in ("loss", "grad_norm", "eval_loss"))


SPREADS = {
    "sharded": SHARDED,
    "sharded, computed twice": replace(SHARDED, gradient_checkpointing=True),
    "copies": COPIES,
    "copies, computed twice": replace(COPIES, gradient_checkpointing=True),
}


@pytest.mark.parametrize("name", SPREADS)
def test_two_draw_the_curve_of_one_and_end_at_its_weights(world: World, name: str) -> None:
    training, _ = world.shard(name.replace(", ", "-").replace(" ", "-"), spread=SPREADS[name])
    for mine, alone in zip(curves(training), curves(world.alone), strict=True):
        assert mine == pytest.approx(alone, rel=1e-5)
    one, two = world.weights(world.alone), world.weights(training)
    assert one.keys() == two.keys()
    for tensor in one:
        assert two[tensor] == pytest.approx(one[tensor], abs=1e-5), tensor


@pytest.mark.parametrize("strategy", ["fsdp", "ddp"])
def test_two_in_bfloat16_add_up_as_one_does(world: World, strategy: Any) -> None:
    """Each pass is the same; sums over workers and micro-batches are float32, so that only what
    follows from their order differs. Against float32, two percent.
    """
    half = replace(LEARNING, precision="bfloat16")
    config, alone = world.training(
        f"half-alone-{strategy}", SpreadSettings(micro_tokens=4096), learning=half
    )
    train(prepared(config, alone), Place(), lambda event: None)
    spread = replace(SHARDED, strategy=strategy)
    training, _ = world.shard(f"half-{strategy}", learning=half, spread=spread)
    for mine, one, exact in zip(*map(curves, (training, alone, world.alone)), strict=True):
        assert mine == pytest.approx(one, rel=1e-3)
        assert mine == pytest.approx(exact, rel=2e-2)


@pytest.mark.parametrize("strategy", ["fsdp", "ddp"])
@pytest.mark.parametrize("quantised", [False, True], ids=["LoRA", "QLoRA"])
def test_two_learn_the_adapters_that_one_learns(
    world: World, strategy: Any, quantised: bool
) -> None:
    adapter = AdapterSettings(rank=4, quantised=quantised)
    learning = replace(LEARNING, rate=2e-2, adapter=adapter)
    name = f"adapters-{strategy}-{quantised}"
    config, alone = world.training(
        f"{name}-alone", SpreadSettings(micro_tokens=4096), learning=learning
    )
    train(prepared(config, alone), Place(), lambda event: None)
    spread = replace(SHARDED, strategy=strategy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPMILL_FAULT", f"after_update@3/1=kill-once:{world.folder}/{name}")
        with pytest.raises(ProcessException):
            world.shard(name, learning=learning, spread=spread)
    training, said = world.shard(name, learning=learning, spread=spread)
    assert "continued 2" in said
    assert curves(alone)[0][-1] < curves(alone)[0][0]
    for mine, one in zip(curves(training), curves(alone), strict=True):
        assert mine == pytest.approx(one, rel=1e-5)
    one, two = world.weights(alone), world.weights(training)
    for tensor in one:
        assert two[tensor] == pytest.approx(one[tensor], abs=1e-5), tensor


def test_weights_held_in_the_machines_memory_draw_the_same_curve(world: World) -> None:
    training, _ = world.shard("offloaded", spread=replace(SHARDED, offload=True))
    for mine, alone in zip(curves(training), curves(world.alone), strict=True):
        assert mine == pytest.approx(alone, rel=1e-5)


def test_a_sharded_training_goes_on_with_one_worker(world: World) -> None:
    fault = {"STEPMILL_FAULT": f"after_update@3/0=kill-once:{world.folder}/dead"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*next(iter(fault.items())))
        with pytest.raises(ProcessException):
            world.shard("fewer")
    said: list[str] = []
    config, training = world.training("fewer", SpreadSettings(micro_tokens=4096))
    train(prepared(config, training), Place(), lambda event: said.append(event.kind))
    assert "continued" in said
    for mine, alone in zip(curves(training), curves(world.alone), strict=True):
        assert mine == pytest.approx(alone, rel=1e-5)


def test_a_worker_killed_in_mid_epoch_goes_on_from_the_sharded_checkpoint(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPMILL_FAULT", f"after_update@3/1=kill-once:{tmp_path}/killed")
    with pytest.raises(ProcessException):
        world.shard("killed")
    assert (tmp_path / "killed").exists()
    training, said = world.shard("killed")
    assert "continued 2" in said
    for mine, alone in zip(curves(training), curves(world.alone), strict=True):
        assert mine == pytest.approx(alone, rel=1e-5)
