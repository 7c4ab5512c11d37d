"""transformers' Trainer, fed with whole updates instead of batches.

transformers does the training: optimizer, schedule, clipping, mixed precision, DDP and FSDP,
checkpoints of all of it and resuming. (TRL's SFTTrainer adds preparing and masking of datasets,
which is done here by the format's own rules; nothing else of it would be left.) Replaced are two
things only: what an update sees, and what its loss is divided by.

Invariant: the loss of an update is the mean over the own tokens of its conversations, whatever the
workers and micro-batches; held-out figures are sums over all workers, divided once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments

from actors.training.batches import IGNORED, Corpus, MicroBatch, StepPlan, Tensors, tensors
from actors.training.events import Place
from actors.training.settings import TrainingSettings

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What the held-out conversations say, each verdict judged after the true text before it."""

    loss: float
    """Nats per own token."""
    step_accuracy: float
    """Share of the steps whose likelier verdict (Yes or No) is the label."""
    wrong_step_accuracy: float
    """The same among the steps that are labelled wrong."""
    steps: int


class Updates(Dataset[Any]):  # type: ignore[misc]
    """One item per update: this worker's micro-batches, and the own tokens of all workers."""

    def __init__(self, plan: StepPlan, corpus: Corpus, place: Place, pad: int) -> None:
        self._plan = plan
        self._corpus = corpus
        self._place = place
        self._pad = pad

    def __len__(self) -> int:
        """Number of updates."""
        return self._plan.steps

    def __getitem__(self, step: int) -> dict[str, Any]:
        """Update `step`, counted from 0."""
        train = self._corpus.train
        share = self._plan.share(step, self._place.rank, self._place.workers)
        return {
            "micro": [tensors(batch, train, self._pad) for batch in share],
            "own_tokens": sum(train[member].own_tokens for member in self._plan.members(step)),
        }


class StepTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose training step is a whole update."""

    control: Any

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        plan: StepPlan,
        corpus: Corpus,
        place: Place,
        pad: int,
        callbacks: Sequence[Any],
    ) -> None:
        self._plan = plan
        self._corpus = corpus
        self._place = place
        self._pad = pad
        updates = Updates(plan, corpus, place, pad)
        super().__init__(model=model, args=args, train_dataset=updates, callbacks=list(callbacks))
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Each worker's own share; nothing is left to be distributed."""
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=_only)

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Forward and backward of all micro-batches; returns this worker's part of the loss.

        Workers' gradients are averaged, so each one's part is multiplied by their number.
        """
        model.train()
        scale = self._place.workers / inputs["own_tokens"]
        total = torch.zeros((), device=self.args.device)
        last = len(inputs["micro"]) - 1
        for number, batch in enumerate(inputs["micro"]):
            together = number == last
            with contextlib.nullcontext() if together else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    logits, columns, labels = self._logits(model, batch)
                    loss = _summed(logits, labels[:, columns]) * scale
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Look at the held-out conversations and log what they say."""
        found = self.held_out(self.model_wrapped)
        values = {
            "eval_loss": found.loss,
            "eval_step_accuracy": found.step_accuracy,
            "eval_wrong_step_accuracy": found.wrong_step_accuracy,
        }
        self.log(values)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, values
        )
        return values

    def held_out(self, model: Any) -> HeldOut:
        """Loss and step accuracy over all held-out conversations."""
        corpus = self._corpus
        plan = StepPlan(
            tuple(len(one.ids) for one in corpus.held_out),
            self._plan.learning,
            self._plan.row_tokens,
            self._plan.micro_tokens,
        )
        members = range(len(corpus.held_out))
        sums = torch.zeros(6, dtype=torch.float64)
        model.eval()
        with torch.no_grad():
            for batch in plan.shares(members, self._place.rank, self._place.workers):
                sums += self._held_out_part(model, batch)
        if torch.distributed.is_initialized():
            sums = sums.to(self.args.device)
            torch.distributed.all_reduce(sums)
        loss, tokens, right, steps, right_wrong, wrong = sums.tolist()
        return HeldOut(loss / tokens, right / steps, right_wrong / max(1.0, wrong), int(steps))

    def _held_out_part(self, model: Any, batch: MicroBatch) -> torch.Tensor:
        """[loss, own tokens, steps right, steps, wrong-labelled steps right, of those all]."""
        held = self._corpus.held_out
        made = tensors(batch, held, self._pad)
        with self.compute_loss_context_manager():
            logits, columns, labels = self._logits(model, made)
        wanted = labels[:, columns]
        sums = [
            float(_summed(logits, wanted)),
            float((wanted != IGNORED).sum()),
            0.0,
            0.0,
            0.0,
            0.0,
        ]
        seen = columns.cpu().numpy()
        for row, start, member in made.conversations:
            one = held[member]
            places = np.searchsorted(seen, one.verdicts + start)
            sides = logits[row, torch.from_numpy(places).to(logits.device)].float()
            says = (sides[:, self._corpus.yes] > sides[:, self._corpus.no]).cpu().numpy()
            right = says == one.labels
            sums[2] += float(right.sum())
            sums[3] += len(right)
            sums[4] += float(right[~one.labels].sum())
            sums[5] += float((~one.labels).sum())
        return torch.tensor(sums, dtype=torch.float64)

    def _logits(
        self, model: Any, batch: Tensors
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits [rows, columns, vocabulary] that predict the learnt tokens, these tokens'
        columns, and the labels [rows, width]; only such columns pay for logits.
        """
        device = self.args.device
        labels = torch.from_numpy(batch.labels).to(device)
        columns = (labels[:, 1:] != IGNORED).any(dim=0).nonzero().flatten() + 1
        if not len(columns):  # a micro-batch that only keeps the others company
            columns = torch.zeros(1, dtype=torch.long, device=device)
        positions = batch.positions
        out = model(
            input_ids=torch.from_numpy(batch.ids).to(device),
            position_ids=None if positions is None else torch.from_numpy(positions).to(device),
            use_cache=False,
            logits_to_keep=(columns - 1).clamp(min=0),
        )
        return out.logits, columns, labels

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted."""
        return 0


def arguments(
    settings: TrainingSettings, steps: int, place: Place, folder: Path
) -> TrainingArguments:
    """The Trainer's own settings; what it decides by itself is switched off."""
    learning, spread = settings.learning, settings.spread
    if learning.precision == "auto":
        raise ValueError("precision is decided before a training is created")
    fsdp = spread.strategy == "fsdp"
    sharding = {
        "version": 2,
        "state_dict_type": "SHARDED_STATE_DICT",
        "activation_checkpointing": spread.gradient_checkpointing,
    }
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=1,
        learning_rate=learning.rate,
        lr_scheduler_type=SCHEDULES[learning.schedule],
        warmup_steps=round(learning.warm_up * steps),
        weight_decay=learning.weight_decay,
        adam_beta2=learning.beta2,
        max_grad_norm=learning.clip,
        optim="adamw_torch",
        bf16=learning.precision == "bfloat16",
        seed=learning.seed,
        use_cpu=not place.gpu,
        gradient_checkpointing=spread.gradient_checkpointing and not fsdp,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        fsdp=fsdp or None,
        fsdp_config=sharding if fsdp else None,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
    )


def _summed(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Summed cross entropy of the tokens that are learnt."""
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def _only(items: list[Any]) -> Any:
    """The one item of a batch of one."""
    return items[0]
