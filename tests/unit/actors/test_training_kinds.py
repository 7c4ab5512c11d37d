"""Every kind of process reward model by the one trainer, on a model of a few thousand parameters.

The run's solutions have one text and different targets, so that what is learnt is known: a model
that may say a share says their mean.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.engines.passages import Spelt, spelt
from actors.engines.rendering import ChatRenderer
from actors.models.rewards import KEY, SEPARATOR, RewardModel, reward_model_in
from actors.training.events import Event, Place
from actors.training.loop import train
from actors.training.settings import (
    AdapterSettings,
    LearningSettings,
    RhythmSettings,
    SpreadSettings,
)
from storage.errors import InputError
from storage.objects.local import LocalStore
from storage.trainings.training import Training
from tests.support.taught_solutions import PROBLEM, STEPS, solved_run
from tests.support.training_world import demo_tokenizer, losses, notes_of, prepared, tiny_base
from workflows.training.settings import DataSettings, HeadSettings, TrainConfig
from workflows.training.start import start_training, write_out

pytestmark = pytest.mark.usefixtures("one_thread")

LEARNING = LearningSettings(epochs=150, batch=6, rate=5e-3, precision="float32", beta2=0.95)
BETA = 0.3


class Stopped(Exception):
    """Stands for the death of the process."""


class World:
    """A base model and a run that teaches."""

    def __init__(self, folder: Path) -> None:
        self.store = LocalStore.at(folder / "store")
        self.base, self.out = folder / "base", folder / "models"
        tiny_base(self.base)
        solved_run(self.store)

    def config(self, name: str, kind: Any, **changes: Any) -> TrainConfig:
        config = TrainConfig(
            run="solved", base=str(self.base), name=name, store=self.store.url, kind=kind,
            data=DataSettings(held_out=0), learning=LEARNING, spread=SpreadSettings(),
            rhythm=RhythmSettings(evaluate=500, checkpoint=20), head=HeadSettings(beta=BETA),
        )  # fmt: skip
        return replace(config, **changes)

    def train(self, config: TrainConfig, stop_at: int | None = None) -> Training:
        training = start_training(config, self.store)

        def say(event: Event) -> None:
            if event.kind == "update" and event.step == stop_at:
                raise Stopped

        train(prepared(config, training), Place(), say)
        write_out(training, training.model(), self.out / config.training)
        return training


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("kinds"))


def passage() -> Spelt:
    renderer = ChatRenderer(demo_tokenizer())
    try:
        return spelt(renderer, PROBLEM, STEPS, SEPARATOR)
    finally:
        renderer.close()


def said_by_head(folder: Path) -> list[float]:
    """P(right) at each step, by transformers' own class."""
    import torch
    from transformers import AutoModelForTokenClassification

    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    text = passage()
    with torch.no_grad():
        logits = model(torch.tensor([text.ids])).logits[0, text.ends]
    chances: list[float] = logits.softmax(-1)[:, 1].tolist()
    return chances


def log_probability(folder: Path) -> float:
    """Of the solution, given the problem."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    text = passage()
    with torch.no_grad():
        said = model(torch.tensor([text.ids])).logits[0].double().log_softmax(-1)
    ids = torch.tensor(text.ids[text.begins :])
    return float(said[text.begins - 1 : -1].gather(1, ids[:, None]).sum())


@pytest.mark.parametrize(
    ("kind", "targets", "expected"),
    [
        ("discriminative", "hard", (1.0, 0.5, 0.5)),
        ("discriminative", "soft", (0.75, 0.25, 0.5)),
        ("discriminative", "binomial", (0.75, 0.25, 1.0)),
        ("value", "hard", (1.0, 1 / 3, 0.5)),
        ("orm", "hard", (None, None, 1 / 3)),
    ],
)
def test_a_head_learns_the_mean_of_its_targets_where_they_stand(
    world: World, kind: str, targets: Any, expected: tuple[float | None, ...]
) -> None:
    name = f"{kind}-{targets}"
    config = world.config(name, kind, head=HeadSettings(targets=targets))
    notes = notes_of(world.train(config))
    assert losses(notes)[0] == pytest.approx(math.log(2), abs=0.02) or targets == "binomial"
    said = said_by_head(world.out / name)
    for chance, wanted in zip(said, expected, strict=True):
        assert wanted is None or chance == pytest.approx(wanted, abs=0.06)
    written = json.loads((world.out / name / "config.json").read_text())
    assert written["architectures"] == ["Qwen2ForTokenClassification"]
    assert written["label2id"] == {"wrong": 0, "right": 1}
    assert reward_model_in(written, name).kind == kind


def test_an_implicit_model_learns_outcomes_by_its_log_ratio_to_the_base(world: World) -> None:
    notes = notes_of(world.train(world.config("implicit", "implicit")))
    assert losses(notes)[0] == pytest.approx(math.log(2)), "it begins as its own reference"
    folder = world.out / "implicit"
    odds = BETA * (log_probability(folder) - log_probability(world.base))
    assert 1 / (1 + math.exp(-odds)) == pytest.approx(1 / 3, abs=0.05)
    written = json.loads((folder / "config.json").read_text())
    noted = reward_model_in(written, "implicit")
    assert noted == RewardModel("implicit", beta=BETA, reference=str(world.base))


def test_a_head_is_learnt_beside_adapters_of_a_frozen_base(world: World) -> None:
    learning = replace(LEARNING, adapter=AdapterSettings(rank=4, alpha=8))
    world.train(world.config("adapted", "orm", learning=learning))
    assert said_by_head(world.out / "adapted")[-1] == pytest.approx(1 / 3, abs=0.06)


@pytest.mark.parametrize("kind", ["orm", "implicit"])
def test_a_training_that_was_cut_off_goes_on_to_the_same_losses(world: World, kind: str) -> None:
    learning = replace(LEARNING, epochs=70)
    whole = world.config(f"{kind}-whole", kind, learning=learning)
    cut = world.config(f"{kind}-cut", kind, learning=learning)
    with pytest.raises(Stopped):
        world.train(cut, stop_at=25)
    assert losses(notes_of(world.train(cut))) == losses(notes_of(world.train(whole)))


def test_what_a_generative_verifier_was_trained_to_write_stands_in_its_folder() -> None:
    assert TrainConfig(base="b", run="r", kind="direct").reward.noted() == {
        "kind": "generative", "view": "direct",
    }  # fmt: skip
    assert reward_model_in({KEY: {"kind": "generative", "view": "cot"}}, "m").view == "cot"
    assert reward_model_in({"architectures": ["Qwen2ForTokenClassification"]}, "m").reads
    assert not reward_model_in({"architectures": ["Qwen2ForCausalLM"]}, "m").reads
    many = {
        "architectures": ["Qwen2ForTokenClassification"],
        "id2label": {"0": "a", "1": "b", "2": "c"},
    }
    with pytest.raises(InputError, match="3 labels"):
        reward_model_in(many, "m")
