"""What a training notes and keeps: its curve, checkpoints, and the finished model's folder.

Invariant: what is noted of an update is noted once, and goes into every later checkpoint.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from actors import metrics
from actors.models.folder import TOKENIZER_FILES
from actors.models.rewards import KEY, RewardModel
from actors.training.batches import StepPlan
from actors.training.events import Event, Place, Say
from actors.training.moving import LAYOUT, PARTED, PROGRESS, Curve, check_room, keep_folder
from actors.training.trainer import HeldOut, StepTrainer, Update
from storage.errors import ConfigurationError
from storage.fault_points import fault
from storage.trainings.training import Training


class Keeper:
    """Says what happens, and keeps what there is."""

    def __init__(
        self, training: Training, plan: StepPlan, place: Place, say: Say, curve: Curve,
        keeps_all: bool = False,
    ) -> None:  # fmt: skip
        """`curve`: what was noted before; grows. `keeps_all`: no checkpoint is removed."""
        self._training = training
        self._plan = plan
        self._place = place
        self._say = say
        self.curve = curve
        self._tags = {"training": training.name}
        self._last = time.monotonic()
        self._keeps_all = keeps_all

    def updated(self, step: int, update: Update) -> None:
        """After update number `step`, counted from 1. Raises ConfigurationError for a loss that
        is no number.
        """
        now = time.monotonic()
        tokens = self._plan.tokens(self._plan.members(step - 1))
        values = {
            "loss": update.loss, "rate": update.rate, "tokens": tokens, "seconds": now - self._last
        }  # fmt: skip
        self._last = now
        if not math.isfinite(update.loss):
            raise ConfigurationError(
                f"the loss is {update.loss} after update {step}: lower learning.rate or set "
                "learning.clip, and take another name"
            )
        self.curve.append(
            {
                "step": step, "loss": update.loss, "grad_norm": update.norm,
                "learning_rate": update.rate,
            }
        )  # fmt: skip
        self._show("stepmill_train_loss", update.loss)
        self._show("stepmill_train_step", step)
        if self._place.rank == 0:
            metrics.count("stepmill_train_tokens", self._tags, tokens)
        self._say(Event("update", step, self._plan.steps, values))
        fault("after_update", f"{step}/{self._place.rank}")

    def looked(self, step: int, found: HeldOut) -> None:
        """After a look at the held-out conversations."""
        values = {
            "eval_loss": found.loss,
            "eval_step_accuracy": found.step_accuracy,
            "eval_wrong_step_accuracy": found.wrong_step_accuracy,
        }
        self.curve.append({"step": step, **values})
        self._show("stepmill_train_held_out_loss", found.loss)
        self._show("stepmill_train_step_accuracy", found.step_accuracy)
        self._say(Event("held_out", step, self._plan.steps, values))
        self._last = time.monotonic()

    def keep(self, step: int, trainer: StepTrainer, folder: Path) -> None:
        """Write a checkpoint into the store, by way of a folder of each machine.

        Raises ConfigurationError where a machine's disk has no room for it.
        """
        check_room(self._place, folder.parent, trainer.saved_bytes, f"checkpoint {step}")
        began = time.monotonic()
        trainer.save(folder)
        if self._place.rank == 0:
            (folder / PROGRESS).write_text(json.dumps(self.curve))
        event = Event("storing", step, self._plan.steps)
        notes = {LAYOUT: PARTED}
        kept = keep_folder(self._training, folder, notes, self._place, event, self._say)
        if self._place.local_rank == 0:
            shutil.rmtree(folder)
        if self._place.rank == 0 and not self._keeps_all:
            self._training.drop_older()
        values = {"bytes": kept.bytes, "seconds": time.monotonic() - began}
        self._say(Event("checkpoint", step, self._plan.steps, values))
        self._last = time.monotonic()

    def _show(self, name: str, value: float) -> None:
        if self._place.rank == 0:
            metrics.show(name, self._tags, value)


def write_model(
    model: Any,
    state: Mapping[str, torch.Tensor],
    end: int,
    dtype_name: str,
    folder: Path,
    reward: RewardModel,
) -> None:
    """Write weights and configuration of the plain folder that vLLM and transformers load.

    `state`: the weights, saved as `dtype_name`, the base model's own precision; `end`: the token
    that ends an assistant's turn, at which generation must stop. `reward`: what the model says.
    """
    dtype = getattr(torch, dtype_name)
    if not reward.reads:
        known = model.generation_config.eos_token_id
        ends = known if isinstance(known, list) else [] if known is None else [known]
        if end not in ends:
            model.generation_config.eos_token_id = [*ends, end]
    model.config.use_cache = True
    model.save_pretrained(folder, state_dict=stored_weights(model, state, dtype))
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = str(dtype).removeprefix("torch.")
    config[KEY] = reward.noted()
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def stored_weights(
    model: Any, state: Mapping[str, torch.Tensor], dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """The weights in another precision, tied ones once: they are no longer one tensor there."""
    tied = {name for name, source in model.all_tied_weights_keys.items() if source in state}
    return {name: value.to(dtype) for name, value in state.items() if name not in tied}


def write_tokenizer(base: Path, template: str, folder: Path) -> None:
    """Add the base model's tokenizer, byte for byte, and the chat template that was trained.

    Saving a loaded one would write what its class made of it: another pre-tokenizer, if the class
    is another model family's.
    """
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
