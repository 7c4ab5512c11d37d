"""Which conversations an update learns from, and how they become tensors.

An update takes `batch` conversations in a seeded order; packed into rows, grouped into forward
passes and dealt out to workers. The loss of an update is the mean over the own tokens of all its
conversations, so packing, micro-batches and workers only change the order of additions.

Invariant: what update i sees is a pure function of the lengths, the settings and i: the position
of the sampler is the number of the update, and nothing else has to be restored.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.training.settings import LearningSettings

IGNORED = -100
"""Label of a token that is not learnt."""

Row = tuple[int, ...]
"""Indices of the conversations that stand one after the other in a row."""
MicroBatch = tuple[Row, ...]
"""Rows of one forward pass; empty for a worker that only keeps the others company."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as tokens, cut after the last turn that fits."""

    name: str
    """path_id."""
    problem_id: str
    ids: npt.NDArray[np.int32]
    own: npt.NDArray[np.bool_]
    """True where a token is learnt."""
    verdicts: npt.NDArray[np.int32]
    """Index of each turn's Yes or No."""
    labels: npt.NDArray[np.bool_]
    """What each verdict is: True for Yes."""

    @property
    def own_tokens(self) -> int:
        """Number of tokens that are learnt."""
        return int(self.own.sum())


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is trained on and what is held out, with what was lost on the way."""

    train: tuple[Conversation, ...]
    held_out: tuple[Conversation, ...]
    counts: dict[str, int]
    """Conversations read, cut and dropped by reason, turns cut off, problems held out."""
    yes: int
    """Id of the token Yes."""
    no: int


@dataclass(frozen=True, slots=True)
class Tensors:
    """A micro-batch: [rows, width] each, padded on the right."""

    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    """`labels[:, t]` is the token at t where it is learnt, else IGNORED; t - 1 predicts it."""
    positions: npt.NDArray[np.int64] | None
    """Positions that start again with each conversation; None where no row holds two."""
    conversations: tuple[tuple[int, int, int], ...]
    """(row, column where it starts, index of the conversation)."""


@dataclass(frozen=True)
class StepPlan:
    """The order of the conversations, update by update."""

    lengths: tuple[int, ...]
    """Tokens of each conversation."""
    learning: LearningSettings
    row_tokens: int
    """Most tokens of a packed row."""
    micro_tokens: int

    @cached_property
    def steps(self) -> int:
        """Updates of the whole training; the last one may see fewer conversations."""
        return ceil(self._seen / self.learning.batch)

    @property
    def _seen(self) -> int:
        return max(1, round(self.learning.epochs * len(self.lengths)))

    def members(self, step: int) -> tuple[int, ...]:
        """The conversations of update `step`, counted from 0."""
        first = step * self.learning.batch
        last = min(first + self.learning.batch, self._seen)
        size = len(self.lengths)
        return tuple(self._epoch(place // size)[place % size] for place in range(first, last))

    def share(self, step: int, worker: int, workers: int) -> tuple[MicroBatch, ...]:
        """One worker's micro-batches of an update: as many as every other worker's."""
        return deal(self._micro_batches(self.members(step)), self._cost, workers)[worker]

    def shares(self, members: Sequence[int], worker: int, workers: int) -> tuple[MicroBatch, ...]:
        """The same for any conversations."""
        return deal(self._micro_batches(members), self._cost, workers)[worker]

    def _epoch(self, epoch: int) -> tuple[int, ...]:
        return _shuffled(len(self.lengths), self.learning.seed, epoch)

    def _micro_batches(self, members: Sequence[int]) -> list[MicroBatch]:
        rows = self._rows(members)
        rows.sort(key=lambda row: (-self._width(row), row))
        groups: list[list[Row]] = []
        for row in rows:  # the first row of a group is its longest
            if groups and self._width(groups[-1][0]) * (len(groups[-1]) + 1) <= self.micro_tokens:
                groups[-1].append(row)
            else:
                groups.append([row])
        return [tuple(group) for group in groups]

    def _rows(self, members: Sequence[int]) -> list[Row]:
        if not self.learning.packing:
            return [(member,) for member in members]
        bins: list[tuple[int, list[int]]] = []
        for member in sorted(members, key=lambda one: (-self.lengths[one], one)):
            length = self.lengths[member]
            for place, (used, held) in enumerate(bins):
                if used + length <= self.row_tokens:
                    held.append(member)
                    bins[place] = (used + length, held)
                    break
            else:
                bins.append((length, [member]))
        return [tuple(held) for _, held in bins]

    def _width(self, row: Row) -> int:
        return sum(self.lengths[member] for member in row)

    def _cost(self, batch: MicroBatch) -> int:
        return max(map(self._width, batch)) * len(batch)


def deal(batches: Sequence[MicroBatch], cost: Any, workers: int) -> list[tuple[MicroBatch, ...]]:
    """Deal out by cost, dearest first, each to the worker that has least; equal numbers, for
    gradients are exchanged by all or by none.
    """
    hands: list[list[MicroBatch]] = [[] for _ in range(workers)]
    loads = [(0, worker) for worker in range(workers)]
    for batch in sorted(batches, key=lambda one: (-cost(one), one)):
        load, worker = heapq.heappop(loads)
        hands[worker].append(batch)
        heapq.heappush(loads, (load + cost(batch), worker))
    most = max(map(len, hands))
    return [tuple(hand + [()] * (most - len(hand))) for hand in hands]


def tensors(batch: MicroBatch, conversations: Sequence[Conversation], pad: int) -> Tensors:
    """A micro-batch as arrays; an empty one becomes one token that teaches nothing."""
    rows = [[conversations[member] for member in row] for row in batch]
    width = max((sum(len(one.ids) for one in row) for row in rows), default=1)
    shape = (max(1, len(rows)), width)
    ids = np.full(shape, pad, dtype=np.int64)
    labels = np.full(shape, IGNORED, dtype=np.int64)
    positions = np.zeros(shape, dtype=np.int64)
    places: list[tuple[int, int, int]] = []
    for number, row in enumerate(rows):
        start = 0
        for member, one in zip(batch[number], row, strict=True):
            end = start + len(one.ids)
            ids[number, start:end] = one.ids
            labels[number, start:end] = np.where(one.own, one.ids, IGNORED)
            positions[number, start:end] = np.arange(len(one.ids))
            places.append((number, start, member))
            start = end
        positions[number, start:] = np.arange(width - start)
    packed = any(len(row) > 1 for row in rows)
    return Tensors(ids, labels, positions if packed else None, tuple(places))


@lru_cache(maxsize=2)
def _shuffled(size: int, seed: int, epoch: int) -> tuple[int, ...]:
    order = list(range(size))
    random.Random(f"stepmill training/{seed}/{epoch}").shuffle(order)
    return tuple(order)
