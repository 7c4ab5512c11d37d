"""Updates of a model: forward, backward, clipping and AdamW, and the look at what is held out.

torch does the work: FSDP2 spreads and gathers weights, AdamW updates all of them in one kernel,
its distributed checkpoints keep them. The batches of the next update are prepared while this one
is computed. (transformers' Trainer and accelerate would add autocast, which casts every weight for
every pass, gradients reduced in bfloat16, and whole gradients kept between micro-batches.)

Invariant: the loss of an update is the mean over the terms of its conversations, whatever the
workers and micro-batches; held-out figures are sums over all workers, divided once. An update
depends on the weights, the optimizer's state and its own number, on nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from actors.training.adapters import learnt
from actors.training.batches import Corpus, MicroBatch, StepPlan, Tensors, tensors
from actors.training.conversations import Conversations
from actors.training.events import Place
from actors.training.learner import reshard
from actors.training.moving import Ranges
from actors.training.objectives import Learner, Passed, RatioLearner
from actors.training.parts import DataPlanner, DataReader, loaded
from actors.training.settings import LearningSettings

TRAIN, HELD_OUT = "train", "held_out"
SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


@dataclass(frozen=True, slots=True)
class Update:
    """What an update says of itself."""

    loss: float
    """Nats per term (`actors.training.objectives`), before the update."""
    norm: float
    """Of the gradient, before it is clipped."""
    rate: float


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What the held-out conversations say, each verdict judged after the true text before it."""

    loss: float
    """Nats per term."""
    step_accuracy: float
    """Share of the steps whose likelier verdict (Yes or No) is the label."""
    wrong_step_accuracy: float
    """The same among the steps that are labelled wrong."""
    steps: int


class StepTrainer:
    """Trains one learner, update by update."""

    def __init__(
        self,
        learner: Learner,
        learning: LearningSettings,
        plan: StepPlan,
        corpus: Corpus,
        place: Place,
        device: torch.device,
        pad: int,
        sharded: bool,
    ) -> None:
        """`sharded`: whether each worker holds a part of the weights, not all of them."""
        self.learner = learner
        self._learning = learning
        self.plan = plan
        self._corpus = corpus
        self._place = place
        self._device = device
        self._pad = pad
        self._sharded = sharded
        self.optimizer = _optimizer(learner, learning)
        self._factor = schedule(learning, plan.steps)
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: tuple[int, Future[list[Tensors]]] | None = None
        self._reference: dict[str, npt.NDArray[np.float64]] = {}
        """Side -> log-probability of each conversation's learnt tokens under the base."""

    def update(self, step: int) -> Update:
        """Make update `step`, counted from 0."""
        torch.manual_seed(self._learning.seed * 1_000_003 + step)  # dropout, where there is any
        learner = self.learner
        learner.train()
        # Workers' gradients are averaged, so each one's part is multiplied by their number.
        scale = self._place.workers / self._terms(self._corpus.train, self.plan.members(step))
        total = torch.zeros((), device=self._device)
        batches = self._prepared(step)
        for number, batch in enumerate(batches):
            self._spread(last=number == len(batches) - 1)
            loss = learner(self._passed(batch, TRAIN))[0] * scale
            loss.backward()
            total += loss.detach()
        limit = self._learning.clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(learner.parameters(), limit).full_tensor()
        rate = self._learning.rate * self._factor(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self._place.workers > 1:
            distributed.all_reduce(total)
        return Update(total.item() / self._place.workers, norm.item(), rate)

    def refer(self) -> None:
        """Note what the weights of now, the base's, say of every conversation; what an implicit
        model is compared with. Before anything is learnt or loaded.
        """
        if not isinstance(self.learner, RatioLearner):
            return
        self.learner.eval()
        sides = {TRAIN: self._corpus.train, HELD_OUT: self._corpus.held_out}
        for side, conversations in sides.items():
            sums = torch.zeros(len(conversations), dtype=torch.float64)
            with torch.no_grad():
                for batch in self._shares(conversations):
                    made = tensors(batch, conversations, self._pad)
                    said = self.learner(Passed(made, self._device))[1][:, 0].double().cpu()
                    sums[list(batch)] = said[: len(batch)] / self.learner.beta
            if self._place.workers > 1:
                sums = sums.to(self._device)
                distributed.all_reduce(sums)
            self._reference[side] = sums.cpu().numpy()
        reshard(self.learner)

    def held_out(self) -> HeldOut:
        """Loss and step accuracy over all held-out conversations."""
        sums = torch.zeros(6, dtype=torch.float64)
        self.learner.eval()
        with torch.no_grad():
            for batch in self._held_out_share:
                sums += self._held_out_part(batch)
        reshard(self.learner)
        if self._place.workers > 1:
            sums = sums.to(self._device)
            distributed.all_reduce(sums)
        loss, tokens, right, steps, right_wrong, wrong = sums.tolist()
        return HeldOut(loss / tokens, right / steps, right_wrong / max(1.0, wrong), int(steps))

    def save(self, folder: Path) -> None:
        """Write this worker's part of weights and optimizer."""
        checkpoint.save(self._state(), checkpoint_id=folder)

    def load(self, folder: Path) -> None:
        """Take weights and optimizer from a folder that any number of workers wrote.

        Raises ObjectCorrupt for a folder that holds something else.
        """
        state = self._state()
        loaded(state, folder)
        set_optimizer_state_dict(self.learner, self.optimizer, state["optimizer"])

    def needed(self, folder: Path) -> Ranges:
        """What of the files of a saved state this worker would load; `folder` has its contents."""
        metadata = DataReader(folder).read_metadata()
        planner = DataPlanner()
        planner.set_up_planner(self._state(), metadata, False)
        found: dict[str, list[tuple[int, int]]] = {}
        for item in planner.create_local_plan().items:
            place = metadata.storage_data[item.storage_index]
            span = (place.offset, place.offset + place.length)
            found.setdefault(place.relative_path, []).append(span)
        return found

    @property
    def saved_bytes(self) -> int:
        """What `save` writes here: weights and two moments; of copies each worker has a share."""
        parts = (held.to_local() for held in learnt(self.learner).values())
        size: int = 3 * sum(part.numel() * part.element_size() for part in parts)
        return size if self._sharded else -(-size // self._place.workers)

    def close(self) -> None:
        """Prepare nothing more."""
        self._ahead.shutdown(cancel_futures=True)

    def _state(self) -> dict[str, Any]:
        optimizer = get_optimizer_state_dict(self.learner, self.optimizer)
        return {"model": learnt(self.learner), "optimizer": optimizer}

    def _spread(self, last: bool) -> None:
        """What happens to gradients and gathered weights behind a micro-batch.

        Parts: gradients are summed over the workers at once, so that nobody keeps whole ones.
        Copies: they are summed at the end of an update; till then the weights stay gathered.
        """
        if not self._sharded:
            self.learner.set_requires_all_reduce(last)
            self.learner.set_reshard_after_backward(last)

    def _prepared(self, step: int) -> list[Tensors]:
        """The micro-batches of an update; those of the next one are begun."""
        ahead, self._next = self._next, None
        fits = ahead is not None and ahead[0] == step
        made = ahead[1].result() if ahead is not None and fits else self._share(step)
        if step + 1 < self.plan.steps:
            self._next = step + 1, self._ahead.submit(self._share, step + 1)
        return made

    def _share(self, step: int) -> list[Tensors]:
        share = self.plan.share(step, self._place.rank, self._place.workers)
        self._corpus.train.bring(member for batch in share for member in batch)
        return [tensors(batch, self._corpus.train, self._pad) for batch in share]

    @cached_property
    def _held_out_share(self) -> tuple[MicroBatch, ...]:
        """This worker's micro-batches of all held-out conversations."""
        return self._shares(self._corpus.held_out)

    def _shares(self, conversations: Conversations) -> tuple[MicroBatch, ...]:
        """This worker's micro-batches of all conversations of a side, brought to this machine."""
        if not len(conversations):
            return ()
        plan = StepPlan(conversations.lengths, self._learning, self.plan.micro_tokens)
        everything = range(len(conversations))
        share = plan.shares(everything, self._place.rank, self._place.workers)
        conversations.bring(member for batch in share for member in batch)
        return share

    def _terms(self, conversations: Conversations, members: Sequence[int]) -> int:
        """Number of terms of the loss: of learnt tokens or steps, or of whole solutions."""
        if isinstance(self.learner, RatioLearner):
            return len(members)
        return conversations.own_tokens(members)

    def _passed(self, made: Tensors, side: str) -> Passed:
        reference = self._reference.get(side)
        of_these = None if reference is None else reference[made.members].tolist()
        return Passed(made, self._device, of_these)

    def _held_out_part(self, batch: MicroBatch) -> torch.Tensor:
        """[loss, terms, steps right, steps, wrong-labelled steps right, of those all]."""
        held = [self._corpus.held_out[member] for member in batch]
        made = tensors(batch, self._corpus.held_out, self._pad)
        if not held:  # the others wait for this one's part of their weights
            self.learner(self._passed(made, HELD_OUT))
            return torch.zeros(6, dtype=torch.float64)
        labels = np.concatenate([one.labels for one in held])
        sides = torch.tensor([self._corpus.yes, self._corpus.no], device=self._device)
        loss, said = self.learner(self._passed(made, HELD_OUT), sides)
        right = (said[:, 0] > said[:, 1]).cpu().numpy() == labels
        sums = [
            loss.item(), self._terms(self._corpus.held_out, batch), right.sum(), len(right),
            right[~labels].sum(), (~labels).sum(),
        ]  # fmt: skip
        return torch.tensor([float(one) for one in sums], dtype=torch.float64)


def _optimizer(learner: Learner, learning: LearningSettings) -> torch.optim.Optimizer:
    """AdamW in one kernel; biases and norms don't decay."""
    sides: tuple[list[Any], list[Any]] = ([], [])
    for held in learner.parameters():
        if held.requires_grad:
            sides[held.ndim > 1].append(held)
    decays: Sequence[float] = (0.0, learning.weight_decay)
    groups = [
        {"params": side, "weight_decay": decay}
        for side, decay in zip(sides, decays, strict=True)
        if side
    ]
    return torch.optim.AdamW(groups, lr=learning.rate, betas=(0.9, learning.beta2), fused=True)


def schedule(learning: LearningSettings, steps: int) -> Any:
    """The share of the rate at an update, by transformers' schedules."""
    from transformers import get_scheduler

    nobody = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    warm_up = round(learning.warm_up * steps)
    return get_scheduler(SCHEDULES[learning.schedule], nobody, warm_up, steps).lr_lambdas[0]
