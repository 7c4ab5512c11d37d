"""What a training keeps: checkpoints and the finished model, from local files into the store.

Every worker stores its share of the files that lie on its machine; the first one names them all in
one commit. A worker that is killed before that commit leaves parts that nobody names.

Invariant: a commit is made only after every worker has said that its files are stored.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from actors import metrics
from actors.models.folder import TOKENIZER_FILES
from actors.training.batches import StepPlan
from actors.training.events import Event, Place, Say
from actors.training.together import gathered
from actors.training.trainer import HeldOut, StepTrainer, Update
from storage.errors import ConfigurationError, ObjectCorrupt
from storage.fault_points import fault
from storage.trainings.checkpoints import StoredFile, fetch_files, files_in, store_files
from storage.trainings.folders import StoredFolder
from storage.trainings.training import Training

Curve = list[dict[str, float]]
"""What is noted of each update, and of each look at the held-out conversations, in order."""
LAYOUT = "layout"
"""Note of a checkpoint: how it is laid out."""
PARTED = "torch.distributed.checkpoint/1"
"""Parts that any number of workers, spread in any way, can read."""
PROGRESS = "progress.json"


class Found(NamedTuple):
    """A checkpoint that was fetched."""

    step: int
    folder: Path
    curve: Curve


class Keeper:
    """Says what happens, and keeps what there is."""

    def __init__(
        self, training: Training, plan: StepPlan, place: Place, say: Say, curve: Curve
    ) -> None:
        """`curve`: what was noted before; grows."""
        self._training = training
        self._plan = plan
        self._place = place
        self._say = say
        self.curve = curve
        self._tags = {"training": training.name}
        self._last = time.monotonic()

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
        """Write a checkpoint into the store, by way of a folder of each machine."""
        trainer.save(folder)
        if self._place.rank == 0:
            (folder / PROGRESS).write_text(json.dumps(self.curve))
        keep_folder(self._training, folder, step, {LAYOUT: PARTED}, self._place, final=False)
        if self._place.local_rank == 0:
            shutil.rmtree(folder)
        self._say(Event("checkpoint", step, self._plan.steps))
        self._last = time.monotonic()

    def _show(self, name: str, value: float) -> None:
        if self._place.rank == 0:
            metrics.show(name, self._tags, value)


def keep_folder(
    training: Training,
    folder: Path,
    step: int,
    notes: Mapping[str, Any],
    place: Place,
    *,
    final: bool,
) -> StoredFolder | None:
    """Store a folder that lies on every machine, and name it; what stands, on the first worker."""
    gathered(place, None)  # everybody has written
    mine = files_in(folder)[place.local_rank :: place.local_workers]
    stored = store_files(training.store, training.prefix, folder, mine, training.patience)
    everything: dict[str, StoredFile] = {
        file.path: file for files in gathered(place, stored) for file in files
    }
    standing = None
    if place.rank == 0:
        standing = training.commit(list(everything.values()), step, notes, final=final)
    gathered(place, None)  # nobody goes on, or cleans up, before it is named
    return standing


def newest_checkpoint(training: Training, place: Place, folder: Path, say: Say) -> Found | None:
    """The newest checkpoint that is whole, fetched to this machine; None where there is none.

    One whose parts are gone or damaged, or that an earlier version wrote, is skipped and said, and
    the one before it taken.
    """
    steps = _agreed(place, training.checkpoints() if place.rank == 0 else [])
    for step in reversed(steps):
        target = folder / f"checkpoint-{step}"
        trouble = None
        if place.local_rank == 0:
            try:
                shutil.rmtree(target, ignore_errors=True)
                found = training.checkpoint(step)
                if found.notes.get(LAYOUT) == PARTED:
                    fetch_files(training.store, training.prefix, found.files, target)
                else:
                    trouble = "an earlier version of Stepmill wrote it"
            except ObjectCorrupt as error:
                trouble = str(error)
        troubles = [one for one in gathered(place, trouble) if one]
        if troubles:
            say(Event("skipped", step, values={"why": troubles[0]}))
            continue
        say(Event("continued", step))
        return Found(step, target, json.loads((target / PROGRESS).read_text()))
    return None


def write_model(
    model: Any,
    state: Mapping[str, torch.Tensor],
    end: int,
    dtype_name: str,
    folder: Path,
) -> None:
    """Write weights and configuration of the plain folder that vLLM and transformers load.

    `state`: the weights, saved as `dtype_name`, the base model's own precision; `end`: the token
    that ends an assistant's turn, at which generation must stop.
    """
    dtype = getattr(torch, dtype_name)
    known = model.generation_config.eos_token_id
    ends = known if isinstance(known, list) else [] if known is None else [known]
    if end not in ends:
        model.generation_config.eos_token_id = [*ends, end]
    model.config.use_cache = True
    model.save_pretrained(folder, state_dict=stored_weights(model, state, dtype))
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = str(dtype).removeprefix("torch.")
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


def _agreed(place: Place, mine: Sequence[int]) -> list[int]:
    """The first worker's answer, on all of them: listings may differ by a moment."""
    return list(gathered(place, list(mine))[0])
