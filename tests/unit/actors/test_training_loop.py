"""A whole training in one process, on a model of a few thousand parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from actors.training.events import Event, Place
from actors.training.job import TrainingJob
from actors.training.loop import train
from actors.training.settings import (
    LearningSettings,
    RhythmSettings,
    SpreadSettings,
)
from storage.errors import ConfigurationError, InputError, SpecMismatch
from storage.objects.local import LocalStore
from storage.trainings.checkpoints import fetch_files
from storage.trainings.training import Training, TrainingSpec
from tests.support.training_world import (
    demo_tokenizer,
    losses,
    notes_of,
    prepared,
    taught_run,
    tiny_base,
)
from workflows.training.mask import ASKS
from workflows.training.settings import DataSettings, TrainConfig
from workflows.training.start import job_of, start_training

pytestmark = pytest.mark.usefixtures("one_thread")

LEARNING = LearningSettings(
    epochs=2, batch=8, rate=3e-3, precision="float32", packing=False, seed=3
)


@dataclass
class Stopped(Exception):
    """Stands for the death of the process."""

    step: int


class Taught:
    """A base model, a finished run and a store, shared by the tests; trainings are named apart."""

    def __init__(self, folder: Path) -> None:
        self.store = LocalStore.at(folder / "store")
        self.base = folder / "base"
        tiny_base(self.base)
        taught_run(self.store)

    def config(self, name: str, **changes: Any) -> TrainConfig:
        whole: dict[str, Any] = {
            "data": DataSettings(held_out=0.2),
            "learning": LEARNING,
            "spread": SpreadSettings(micro_tokens=4096),
            "rhythm": RhythmSettings(evaluate=2, checkpoint=2),
        } | changes
        return TrainConfig(
            run="taught", base=str(self.base), name=name, store=self.store.url, **whole
        )

    def train(
        self, config: TrainConfig, stop_at: int | None = None
    ) -> tuple[Training, list[Event]]:
        """Train to the end, or until the checkpoint after `stop_at` updates is stored."""
        training = start_training(config, self.store)
        events: list[Event] = []

        def say(event: Event) -> None:
            events.append(event)
            if event.kind == "update" and event.step == stop_at:
                raise Stopped(event.step)

        train(prepared(config, training), Place(), say)
        return training, events


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Taught:
    return Taught(tmp_path_factory.mktemp("taught"))


@pytest.fixture(scope="module")
def whole(taught: Taught) -> Mapping[str, Any]:
    """What an undisturbed training notes."""
    training, events = taught.train(taught.config("whole"))
    return notes_of(training) | {"events": events}


def test_the_loss_falls_and_held_out_figures_are_taken_on_the_way(
    whole: Mapping[str, Any],
) -> None:
    curve = losses(whole)
    looks = [entry for entry in whole["curve"] if "eval_loss" in entry]
    assert [entry["step"] for entry in whole["curve"] if "loss" in entry] == [1, 2, 3, 4, 5]
    assert curve[-1] < curve[0]
    assert [entry["step"] for entry in looks] == [2, 4, 5]
    assert looks[-1]["eval_loss"] < looks[0]["eval_loss"]
    assert all(0 <= entry["eval_step_accuracy"] <= 1 for entry in looks)
    kinds = [event.kind for event in whole["events"]]
    assert kinds[0] == "prepared"
    assert kinds[-1] == "finished"
    assert kinds.count("checkpoint") == 2


def test_a_training_that_is_cut_off_ends_at_the_same_losses_and_weights(
    taught: Taught, whole: Mapping[str, Any], tmp_path: Path
) -> None:
    config = taught.config("cut")
    with pytest.raises(Stopped):
        taught.train(config, stop_at=3)
    training = start_training(config, taught.store)
    assert training.checkpoints() == [2]
    training, events = taught.train(config)
    assert [event.step for event in events if event.kind == "continued"] == [2]
    assert [event.step for event in events if event.kind == "update"] == [3, 4, 5]
    assert losses(notes_of(training)) == losses(whole)
    once = weights(start_training(taught.config("whole"), taught.store), tmp_path / "a")
    for name, value in weights(training, tmp_path / "b").items():
        assert value == pytest.approx(once[name], abs=1e-6), name


def test_a_damaged_checkpoint_is_skipped_and_the_one_before_it_is_taken(
    taught: Taught, whole: Mapping[str, Any]
) -> None:
    config = taught.config("damaged")
    with pytest.raises(Stopped):
        taught.train(config, stop_at=5)
    training = start_training(config, taught.store)
    old, new = (training.checkpoint(step).files for step in (2, 4))
    shared = {part for file in old for part in file.parts}
    only_new = next(part for file in new for part in file.parts if part not in shared)
    taught.store.delete(f"{training.prefix}parts/{only_new.sha256}")
    training, events = taught.train(config)
    assert [(event.kind, event.step) for event in events if event.kind in ("skipped", "continued")]\
        == [("skipped", 4), ("continued", 2)]  # fmt: skip
    assert losses(notes_of(training)) == losses(whole)


@pytest.mark.parametrize(("keep", "left"), [(False, [2, 3]), (True, [1, 2, 3])])
def test_the_newest_two_checkpoints_are_kept_while_it_goes_on_unless_all_are(
    taught: Taught, keep: bool, left: list[int]
) -> None:
    rhythm = RhythmSettings(evaluate=9, checkpoint=1, keep=keep)
    config = taught.config(f"rotated-{keep}", rhythm=rhythm)
    with pytest.raises(Stopped):
        taught.train(config, stop_at=4)
    training = start_training(config, taught.store)
    assert training.checkpoints() == left
    _, events = taught.train(config)
    (fetched,) = [event for event in events if event.kind == "fetched"]
    (stored,) = [event for event in events if event.kind == "checkpoint"]
    assert 0 < fetched.values["bytes"] <= stored.values["bytes"]


VARIANTS: dict[str, dict[str, Any]] = {
    "packed": {"learning": replace(LEARNING, packing=True)},
    "one row at a time": {"spread": SpreadSettings(micro_tokens=1)},
    "gradient checkpointing": {"spread": SpreadSettings(gradient_checkpointing=True)},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_how_an_update_is_cut_into_passes_does_not_change_it(
    taught: Taught, whole: Mapping[str, Any], name: str
) -> None:
    config = taught.config(name.replace(" ", "-"), **VARIANTS[name])
    notes = notes_of(taught.train(config)[0])
    assert losses(notes) == pytest.approx(losses(whole), rel=1e-4)
    assert losses(notes, "eval_loss") == pytest.approx(losses(whole, "eval_loss"), rel=1e-4)


def test_the_model_is_a_plain_folder_that_transformers_loads(
    taught: Taught, whole: Mapping[str, Any], tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    training = start_training(taught.config("whole"), taught.store)
    folder = tmp_path / "model"
    model = training.model()
    assert model is not None
    fetch_files(training.store, training.prefix, model.files, folder)
    loaded, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert loaded.dtype == torch.float32
    assert loaded.generation_config.eos_token_id in (2, [2])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == ASKS + demo_tokenizer().chat_template
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (taught.base / name).read_bytes()
    assert "| held out | 2 problems |" in (folder / "README.md").read_text()
    curve = pq.read_table(folder / "training" / "curve.parquet").to_pylist()
    assert [row["loss"] for row in curve] == losses(whole)
    assert (folder / "training" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert training.checkpoints() == []


def weights(training: Training, folder: Path) -> dict[str, Any]:
    """The model's weights."""
    from safetensors.numpy import load_file

    model = training.model()
    assert model is not None
    fetch_files(training.store, training.prefix, model.files, folder)
    return dict(load_file(folder / "model.safetensors"))


def test_jobs_survive_pickling(taught: Taught) -> None:
    import pickle

    config = taught.config("pickled")
    spec = TrainingSpec("b", "taught", "d", {})
    job = job_of(config, Training(taught.store, "pickled", spec))
    assert isinstance(pickle.loads(pickle.dumps(job)), TrainingJob)
    assert job.settings.learning == LEARNING


def test_a_loss_that_is_no_number_ends_the_training_with_what_to_change(taught: Taught) -> None:
    wild = replace(LEARNING, rate=1e30, clip=0.0, warm_up=0.0)
    with pytest.raises(ConfigurationError, match=r"lower learning\.rate"):
        taught.train(taught.config("wild", learning=wild))


def test_a_checkpoint_of_another_strategy_is_continued(
    taught: Taught, whole: Mapping[str, Any]
) -> None:
    config = taught.config("strategies")
    with pytest.raises(Stopped):
        taught.train(config, stop_at=3)
    other = replace(config, spread=SpreadSettings(micro_tokens=4096, strategy="fsdp"))
    training, events = taught.train(other)
    assert [event.step for event in events if event.kind == "continued"] == [2]
    assert losses(notes_of(training)) == pytest.approx(losses(whole), rel=1e-5)


def test_a_checkpoint_of_an_earlier_version_is_skipped_and_said(
    taught: Taught, whole: Mapping[str, Any]
) -> None:
    config = taught.config("earlier")
    training = start_training(config, taught.store)
    training.commit([], 2, {"strategy": "ddp"}, final=False)
    training, events = taught.train(config)
    (skipped,) = [event for event in events if event.kind == "skipped"]
    assert "earlier version" in skipped.values["why"]
    assert losses(notes_of(training)) == losses(whole)


def test_a_base_whose_files_lack_weights_is_refused_in_one_line(
    taught: Taught, tmp_path: Path
) -> None:
    import shutil

    from safetensors.numpy import load_file, save_file

    shutil.copytree(taught.base, tmp_path / "base")
    file = tmp_path / "base" / "model.safetensors"
    kept = {name: value for name, value in load_file(file).items() if "norm" not in name}
    save_file(kept, file, {"format": "pt"})
    config = replace(taught.config("lacking"), base=str(tmp_path / "base"))
    with pytest.raises(InputError, match=r"base model base: .*norm"):
        taught.train(config)


def test_another_rate_is_refused_and_another_cadence_is_not(taught: Taught) -> None:
    config = taught.config("frozen")
    start_training(config, taught.store)
    start_training(replace(config, rhythm=RhythmSettings(evaluate=9)), taught.store)
    with pytest.raises(SpecMismatch, match=r"settings\.learning\.rate: stored 0\.003"):
        start_training(replace(config, learning=replace(LEARNING, rate=1e-3)), taught.store)


@pytest.mark.parametrize("offload", [False, True])
def test_weights_are_held_in_the_machines_memory_where_told(
    taught: Taught, offload: bool, whole: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.distributed.fsdp import CPUOffloadPolicy

    from actors.training import learner

    shard, policies = learner.fully_shard, []

    def noted(module: Any, **given: Any) -> Any:
        policies.append(isinstance(given["offload_policy"], CPUOffloadPolicy))
        return shard(module, **given)

    monkeypatch.setattr(learner, "fully_shard", noted)
    spread = SpreadSettings(micro_tokens=4096, offload=offload)
    training, _ = taught.train(taught.config(f"offload-{offload}", spread=spread))
    assert set(policies) == {offload}
    assert losses(notes_of(training)) == pytest.approx(losses(whole), rel=1e-5)
