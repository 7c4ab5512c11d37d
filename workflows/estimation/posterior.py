"""What rollouts say of a path once its states are read together: a hidden Markov chain.

The success probability q_t of state t moves on a grid of G points g; n_t rollouts of which c_t
are right are its evidence, and the path's own end is one more rollout of the last state:

    P(q_0 = g) = start[g]            P(q_t+1 = h | q_t = g) = move[g, h]
    P(c_t | q_t = g) ~ g^c_t (1 - g)^(n_t - c_t)
    P(path right | q_T-1 = g) = g

Forward-backward, scaled to sum 1 at each state, with E the evidence and * elementwise:

    a_0 = start * E_0,  a_t+1 = (a_t @ move) * E_t+1      past and present of state t
    b_T-1 = 1,          b_t = move @ (E_t+1 * b_t+1)      future of state t
    P(q_t | all) ~ a_t * b_t
    P(q_t = g, q_t+1 = h | all) ~ a_t[g] move[g, h] (E * b)_t+1[h]

A label is right with the probability of the pairs that `workflows.labels.rule` calls right. A
state without rollouts has flat evidence: its neighbours speak for it.

The rule "after the first zero every label is wrong" is about counts, and a path may pass a state
from which the completion model never succeeds and still end right: two slips cancel out, or the
policy knew better. So `believe_by_rule` reads a path only up to a state without success that the
states before it make dead rather than alive (`ENDS`); neither later states nor the path's own end
can bring it back.

Invariant: pure in chain and counts; point 0 is never left. All arrays hold B paths at once, padded
to S states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from workflows.labels.rule import RuleTable, rule_table
from workflows.settings import LabelSettings

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

LOGITS: Floats = np.linspace(-5.4, 6.0, 39)
GRID: Floats = np.concatenate([[0.0], 1 / (1 + np.exp(-LOGITS))])
"""G = 40 points: 0, and 0.0045 to 0.9975 in equal steps of log-odds (0.3). No 1: a wrong end
must stay possible everywhere."""
DEAD = 0
"""Index of the point from which nothing succeeds."""
CERTAINLY_DEAD = 0.95
"""A state whose chance of being dead reaches this ends its path: later states need no rollouts."""
ROWS = 128
"""Rows of a product with the moves that are computed at once."""
ENDS = 0.5
"""Chance of being dead, by its rollouts and the states before it, from which a complete state
without success ends its path by the rule."""

with np.errstate(divide="ignore"):
    _LOG = np.maximum(np.log(GRID), -1e30)  # finite, so that 0 * log 0 is 0
_LOG_NOT = np.log1p(-GRID)


class StateCount(NamedTuple):
    """Rollouts of one state, and how many of them were right."""

    n: int
    c: int


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Where success probabilities start and how they move along a path."""

    start: Floats
    """(G,), sums to 1."""
    move: Floats
    """(G, G), rows sum to 1; row 0 stays at 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """The rollouts of B paths."""

    n: Integers
    """(B, S) rollouts per state; 0 where none were made, and beyond a path's end."""
    c: Integers
    """(B, S) right ones among them."""
    steps: Integers
    """(B,) T of each path, at least 1: its rolled-out states are 0..T-1."""
    correct: Flags
    """(B,) whether the path's own answer is right."""
    ended: Flags | None = None
    """(B, S) the state that ended its path by the rule: dead, whatever came after it."""

    @classmethod
    def of(cls, paths: Sequence[tuple[int, bool, Mapping[int, tuple[int, int]]]]) -> Observed:
        """From (T, correct, state -> (n, c)) per path."""
        steps = np.array([path[0] for path in paths], dtype=np.int64)
        n = np.zeros((len(paths), int(steps.max())), dtype=np.int64)
        c = np.zeros_like(n)
        for row, (_, _, counts) in enumerate(paths):
            for state, count in counts.items():
                n[row, state], c[row, state] = count
        return cls(n, c, steps, np.array([path[1] for path in paths], dtype=np.bool_))


@dataclass(frozen=True, slots=True, eq=False)
class Beliefs:
    """What chain and rollouts say together of every state and step."""

    chain: Chain
    seen: Observed
    past: Floats
    """(B, S, G): a_t, each state summing to 1."""
    future: Floats
    """(B, S, G): (E * b)_t, scaled."""
    state: Floats
    """(B, S, G): P(q_t | all)."""

    @property
    def dead(self) -> Floats:
        """(B, S): P(q_t = 0 | all); never falls along a path."""
        return self.state[:, :, DEAD]

    @property
    def mean(self) -> Floats:
        """(B, S): E(q_t | all)."""
        return self.state @ GRID

    @property
    def relative_deviation(self) -> Floats:
        """(B, S): standard deviation of q_t over its mean: how badly a ratio knows it."""
        mean = self.mean
        spread = np.sqrt(np.maximum(self.state @ GRID**2 - mean**2, 0.0))
        found: Floats = spread / np.maximum(mean, 1e-9)
        return found

    def right(self, settings: LabelSettings) -> Floats:
        """(B, S): P(label of step t is right | all); 1 beyond a path's end."""
        table = table_of(settings)
        moves = self.chain.move
        weight = np.einsum("bsg,bsg->bs", self.past[:, :-1] @ moves, self.future[:, 1:])
        among = np.einsum(
            "bsg,bsg->bs", self.past[:, :-1] @ (moves * table.right), self.future[:, 1:]
        )
        right = np.ones(self.seen.n.shape)
        right[:, :-1] = among / weight
        right[_beyond(self.seen)] = 1.0
        rows, last = np.arange(len(self.seen.steps)), self.seen.steps - 1
        ends = table.end_right[self.seen.correct.astype(np.int64)]
        right[rows, last] = np.sum(self.state[rows, last] * ends, axis=1)
        return np.clip(right, 0.0, 1.0)

    def error(self, settings: LabelSettings) -> Floats:
        """(B, S): chance that the likelier label of step t is not the true one."""
        right = self.right(settings)
        return np.minimum(right, 1 - right)

    def median_value(self, path: int, settings: LabelSettings) -> list[float]:
        """Per step of one path, the largest v with P(value >= v | all) >= 1/2.

        Value >= threshold exactly where P(value >= threshold | all) >= 1/2, so that the median
        is what equation 10 compares.
        """
        table, last = table_of(settings), int(self.seen.steps[path]) - 1
        pairs = self.past[path, :last, :, None] * self.chain.move
        pairs = pairs * self.future[path, 1 : last + 1, None, :]
        values = _medians(table.value, table.falling, pairs.reshape(last, GRID.size**2))
        end = int(self.seen.correct[path])
        of_end = self.state[path, last : last + 1]
        return values + _medians(table.end_value[end], table.end_falling[end], of_end)


def evidence(seen: Observed) -> Floats:
    """(B, S, G): E_t[g] = g^c (1 - g)^(n - c), scaled to a largest entry of 1.

    The last state has the path's own end as one more rollout. A state that ended its path is dead,
    and what came after it says nothing.
    """
    rows, last = np.arange(len(seen.steps)), seen.steps - 1
    right, wrong = seen.c.copy(), seen.n - seen.c
    right[rows, last] += seen.correct
    wrong[rows, last] += ~seen.correct
    if seen.ended is not None:
        right[np.cumsum(seen.ended, axis=1) > 0] = 0
        wrong[np.cumsum(seen.ended, axis=1) > 0] = 0
    log = right[:, :, None] * _LOG + wrong[:, :, None] * _LOG_NOT
    found: Floats = np.exp(log - log.max(axis=2, keepdims=True))
    if seen.ended is not None:
        found[seen.ended] = np.arange(len(GRID)) == DEAD
    return found


def believe(chain: Chain, seen: Observed) -> Beliefs:
    """Forward-backward over all paths at once: O(B S G^2)."""
    told = evidence(seen)
    past = np.empty_like(told)
    now = chain.start * told[:, 0]
    past[:, 0] = now / now.sum(axis=1, keepdims=True)
    for t in range(1, told.shape[1]):
        now = moved(past[:, t - 1], chain.move) * told[:, t]
        past[:, t] = now / now.sum(axis=1, keepdims=True)
    future = told.copy()
    after = np.ones_like(told)
    back = chain.move.T
    for t in range(told.shape[1] - 2, -1, -1):
        later = moved(future[:, t + 1], back)
        after[:, t] = later / later.max(axis=1, keepdims=True)
        future[:, t] *= after[:, t]
    state = past * after
    state /= state.sum(axis=2, keepdims=True)
    return Beliefs(chain, seen, past, future, state)


def moved(rows: Floats, move: Floats) -> Floats:
    """rows @ move, in parts for which the BLAS starts no threads: they would wait for one another
    several times longer than they compute.
    """
    if len(rows) <= ROWS:
        found: Floats = rows @ move
        return found
    return np.concatenate([rows[i : i + ROWS] @ move for i in range(0, len(rows), ROWS)])


def believe_by_rule(chain: Chain, seen: Observed, complete: Integers | None = None) -> Beliefs:
    """Forward-backward over each path up to the state that ends it by the rule.

    `complete` (B,) are the rollouts of a state without which its having no success says nothing
    yet; None: budgets are content, and each state has what it is to have.
    """
    beliefs = believe(chain, seen)
    enough = seen.n > 0 if complete is None else seen.n >= np.maximum(complete, 1)[:, None]
    ends = enough & without_success(beliefs)
    if not ends.any():
        return beliefs
    return believe(chain, replace(seen, ended=ends & (np.cumsum(ends, axis=1) == 1)))


def without_success(beliefs: Beliefs) -> Flags:
    """(B, S): states without a right rollout that end their path by the rule once complete."""
    seen = beliefs.seen
    found: Flags = (seen.n > 0) & (seen.c == 0) & (beliefs.past[:, :, DEAD] > ENDS)
    return found


@lru_cache(maxsize=32)
def table_of(settings: LabelSettings) -> RuleTable:
    """The label rule on this grid."""
    return rule_table(GRID.tolist(), settings)


def _beyond(seen: Observed) -> Flags:
    """(B, S): whether the state lies beyond its path's last rolled-out one."""
    beyond: Flags = np.arange(seen.n.shape[1]) >= seen.steps[:, None]
    return beyond


def _medians(values: Floats, falling: Integers, weights: Floats) -> list[float]:
    """Per row of weights, the largest v of `values` whose weight, with all larger ones', is half
    of the whole.
    """
    weight = np.cumsum(weights[:, falling], axis=1)
    half = np.argmax(weight >= weight[:, -1:] / 2, axis=1)
    found: list[float] = values.ravel()[falling[half]].tolist()
    return found
