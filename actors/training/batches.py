"""Which conversations an update learns from, and how they become tensors.

An update takes `batch` conversations in a seeded order, grouped into forward passes and dealt out
to workers. In a pass they stand one behind the other, without padding, and their lengths say where
each begins. The loss of an update is the mean over the own tokens of all its conversations, so
micro-batches and workers only change the order of additions.

Invariant: what update i sees is a pure function of the lengths, the settings and i: the position
of the sampler is the number of the update, and nothing else has to be restored.
"""

from __future__ import annotations

import heapq
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.training.conversations import Conversation, Conversations
from actors.training.settings import LearningSettings

IGNORED = -100
"""Label of a token that is not learnt."""

MicroBatch = tuple[int, ...]
"""Indices of the conversations of one forward pass, one behind the other; empty for a worker that
only keeps the others company."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is trained on and what is held out, with what was lost on the way."""

    train: Conversations
    held_out: Conversations
    counts: dict[str, int]
    """Conversations read, cut and dropped by reason, turns cut off, problems held out."""
    yes: int
    """Id of the token Yes."""
    no: int


@dataclass(frozen=True, slots=True)
class Tensors:
    """A micro-batch of T tokens in N conversations, L of the tokens learnt."""

    ids: npt.NDArray[np.int64]
    """[T]"""
    positions: npt.NDArray[np.int64]
    """[T], from 0 in each conversation."""
    starts: npt.NDArray[np.int32]
    """[N + 1]: where each conversation begins, then T."""
    places: npt.NDArray[np.int64]
    """[L]: tokens whose successor is learnt."""
    targets: npt.NDArray[np.int64]
    """[L]: these successors."""
    longest: int
    """Tokens of the longest conversation."""
    marks: npt.NDArray[np.int64]
    """[V]: tokens of the verdicts; one that counts for nothing where there is none."""
    wanted: npt.NDArray[np.float32]
    """[V]: what is to be said there, 1 for right."""
    weights: npt.NDArray[np.float32]
    """[V]"""
    members: npt.NDArray[np.int64]
    """[N]: which conversations."""


@dataclass(frozen=True, eq=False)
class StepPlan:
    """The order of the conversations, update by update."""

    lengths: npt.NDArray[np.unsignedinteger[Any]]
    """Tokens of each conversation."""
    learning: LearningSettings
    micro_tokens: int
    """Most tokens of a micro-batch; a longer conversation is one by itself."""

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
        parts = [
            self._epoch(epoch)[max(0, first - epoch * size) : last - epoch * size].tolist()
            for epoch in range(first // size, ceil(last / size))
        ]
        return tuple(member for part in parts for member in part)

    def tokens(self, members: Sequence[int]) -> int:
        """Tokens of some conversations together."""
        return sum(self._lengths_of(members))

    def share(self, step: int, worker: int, workers: int) -> tuple[MicroBatch, ...]:
        """One worker's micro-batches of an update: as many as every other worker's."""
        return self.shares(self.members(step), worker, workers)

    def shares(self, members: Sequence[int], worker: int, workers: int) -> tuple[MicroBatch, ...]:
        """The same for any conversations."""
        return deal(self._micro_batches(members), self.tokens, workers)[worker]

    def _epoch(self, epoch: int) -> npt.NDArray[np.int32]:
        return _shuffled(len(self.lengths), self.learning.seed, epoch)

    def _lengths_of(self, members: Sequence[int]) -> list[int]:
        found: list[int] = self.lengths[list(members)].tolist()
        return found

    def _micro_batches(self, members: Sequence[int]) -> list[MicroBatch]:
        """Longest first, each into the first micro-batch that has room."""
        if not self.learning.packing:
            return [(member,) for member in members]
        bins: list[tuple[int, list[int]]] = []
        sizes = zip(self._lengths_of(members), members, strict=True)
        for length, member in sorted(sizes, key=lambda one: (-one[0], one[1])):
            for place, (used, held) in enumerate(bins):
                if used + length <= self.micro_tokens:
                    held.append(member)
                    bins[place] = (used + length, held)
                    break
            else:
                bins.append((length, [member]))
        return [tuple(held) for _, held in bins]


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
    members = [conversations[member] for member in batch]
    lengths = [len(one.ids) for one in members] or [1]
    ids = np.concatenate([one.ids for one in members] or [np.array([pad])]).astype(np.int64)
    own = np.concatenate([one.own for one in members] or [np.array([False])])
    starts = np.cumsum([0, *lengths], dtype=np.int32)
    own[starts[:-1]] = False  # nothing stands before a first token to predict it
    learnt = own.nonzero()[0]
    if not len(learnt):
        places, targets = np.zeros(1, np.int64), np.full(1, IGNORED, np.int64)
    else:
        places, targets = learnt - 1, ids[learnt]
    positions = np.concatenate([np.arange(length) for length in lengths])
    said = _verdicts(members, starts)
    who = np.array(batch or [0], dtype=np.int64)
    return Tensors(ids, positions, starts, places, targets, max(lengths), *said, who)


def _verdicts(
    members: Sequence[Conversation], starts: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Marks, what is wanted there, and weights, of conversations that begin at `starts`."""
    rows = [
        (
            one.verdicts + start,
            one.labels if one.targets is None else one.targets,
            np.ones(len(one.verdicts)) if one.weights is None else one.weights,
        )
        for one, start in zip(members, starts, strict=False)
        if len(one.verdicts)
    ]
    nothing = [([0], [0], [0])]
    marks, wanted, weights = (np.concatenate(side) for side in zip(*rows or nothing, strict=True))
    return marks.astype(np.int64), wanted.astype(np.float32), weights.astype(np.float32)


@lru_cache(maxsize=2)
def _shuffled(size: int, seed: int, epoch: int) -> npt.NDArray[np.int32]:
    """Python's own shuffle, four bytes a conversation: trainings that began before go on in it."""
    order = array("i", range(size))
    random.Random(f"stepmill training/{seed}/{epoch}").shuffle(order)
    return np.frombuffer(order, dtype=np.int32)
