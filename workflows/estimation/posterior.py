"""The posterior of success probabilities, all states of a path together: a hidden Markov chain.

The success probability q_t of state t takes values on a grid of G points g. Its evidence is n_t
rollouts, of which c_t are right. The path's own answer counts as a further rollout of the last
state:

    P(q_0 = g) = start[g];           P(q_t+1 = h | q_t = g) = move[g, h];
    P(c_t | q_t = g) ~ g^c_t (1 - g)^(n_t - c_t);
    P(path right | q_T-1 = g) = g.

Forward-backward, scaled to sum 1 at each state, with E the evidence and * elementwise:

    a_0 = start * E_0,  a_t+1 = (a_t @ move) * E_t+1      past and present of state t;
    b_T-1 = 1,          b_t = move @ (E_t+1 * b_t+1)      future of state t;
    P(q_t | all) ~ a_t * b_t;
    P(q_t = g, q_t+1 = h | all) ~ a_t[g] move[g, h] (E * b)_t+1[h].

Paths of a problem that begin alike are a tree, whose nodes are their states. What the other
branches of state t say of it is further evidence. So each path is read as a chain whose E_t has
the factor

    product over the other children u of state t of M_u,    M_u = move @ (E_u * children's M),

which makes P(q_t | all) that of the whole tree (belief propagation). Branches count as independent
given the state where they part.

P(label is right) is the sum over the pairs that `workflows.labels.rule` calls right. A state
without rollouts has flat evidence, so it is inferred from its neighbours.

The rule "after the first zero every label is wrong" is about counts. A path may pass a state from
which the completion model never succeeds and still end right, by luck or a better policy. So
`believe_by_rule` reads a path only up to the first state without success that is likelier dead
than alive by the states before it (`ENDS`). Later states and the path's answer change nothing.

Invariant: depends only on chain and counts; nothing leaves point 0. All arrays hold B paths,
padded to S states.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
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
"""G = 40 points: 0, and 0.0045 to 0.9975 in equal steps of log-odds (0.3). 1 is left out, so that
a wrong answer is possible from every state."""
DEAD = 0
"""Index of the grid point 0, from which no rollout succeeds."""
CERTAINLY_DEAD = 0.95
"""P(dead) from which a state ends its path: later states need no rollouts."""
TINY = 1e-300
"""Stands for 0 where a logarithm is taken."""
ROWS = 128
"""Most rows in a single product with the moves."""
ENDS = 0.5
"""P(dead) from which a complete state without success ends its path by the rule, given its own
rollouts and those of the states before it."""

with np.errstate(divide="ignore"):
    _LOG = np.maximum(np.log(GRID), -1e30)  # finite, so that 0 * log 0 is 0
_LOG_NOT = np.log1p(-GRID)


class StateCount(NamedTuple):
    """Rollouts of one state, and how many of them were right."""

    n: int
    c: int


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """The fitted distribution of the first success probability and of its moves along a path."""

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
    """(B, S) right rollouts per state."""
    steps: Integers
    """(B,) T of each path, at least 1: its rolled-out states are 0..T-1."""
    correct: Flags
    """(B,) whether the path's own answer is right."""
    ended: Flags | None = None
    """(B, S) the state that ended its path by the rule; it counts as dead."""
    node: Integers | None = None
    """(B, S) a number per state, equal where two paths have a state in common, whose counts are
    equal then; None: no path has a state in common with another."""

    @classmethod
    def of(
        cls,
        paths: Sequence[tuple[int, bool, Mapping[int, tuple[int, int]]]],
        nodes: Sequence[Sequence[Hashable]] | None = None,
    ) -> Observed:
        """From (T, correct, state -> (n, c)) per path.

        `nodes`: names of the T states of each path. States of one name and place are one, and have
        the counts of the path that has most rollouts of it.
        """
        steps = np.array([path[0] for path in paths], dtype=np.int64)
        n = np.zeros((len(paths), int(steps.max())), dtype=np.int64)
        c = np.zeros_like(n)
        for row, (_, _, counts) in enumerate(paths):
            for state, count in counts.items():
                n[row, state], c[row, state] = count
        correct = np.array([path[1] for path in paths], dtype=np.bool_)
        if nodes is None:
            return cls(n, c, steps, correct)
        node = np.arange(n.size, dtype=np.int64).reshape(n.shape)
        first: dict[Hashable, tuple[int, int]] = {}
        for row, names in enumerate(nodes):
            for state, name in enumerate(names):
                at = first.setdefault((state, name), (row, state))
                node[row, state] = node[at]
                if n[row, state] > n[at]:
                    n[at], c[at] = n[row, state], c[row, state]
        if len(first) == sum(map(len, nodes)):
            return cls(n, c, steps, correct)
        same = np.unravel_index(node, n.shape)
        return cls(n[same], c[same], steps, correct, node=node)


@dataclass(frozen=True, slots=True, eq=False)
class Beliefs:
    """The posterior of every state and step, given chain and rollouts."""

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
        """(B, S): P(q_t = 0 | all), which never falls along a path."""
        return self.state[:, :, DEAD]

    @property
    def mean(self) -> Floats:
        """(B, S): E(q_t | all)."""
        return self.state @ GRID

    @property
    def relative_deviation(self) -> Floats:
        """(B, S): standard deviation of q_t divided by its mean."""
        mean = self.mean
        spread = np.sqrt(np.maximum(self.state @ GRID**2 - mean**2, 0.0))
        relative: Floats = spread / np.maximum(mean, 1e-9)
        return relative

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
        """(B, S): chance that the likelier label of step t is the wrong one."""
        right = self.right(settings)
        return np.minimum(right, 1 - right)

    def median_value(self, path: int, settings: LabelSettings) -> list[float]:
        """Per step of a path, the median value: the largest v with P(value >= v | all) >= 1/2.

        It is at least the threshold exactly if P(value >= threshold | all) >= 1/2. So equation
        10 can compare it with the threshold.
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

    The path's own answer is a further rollout of the last state. A state that ended its path has
    evidence of death, and the states after it have none.
    """
    rows, last = np.arange(len(seen.steps)), seen.steps - 1
    right, wrong = seen.c.copy(), seen.n - seen.c
    right[rows, last] += seen.correct
    wrong[rows, last] += ~seen.correct
    if seen.ended is not None:
        right[np.cumsum(seen.ended, axis=1) > 0] = 0
        wrong[np.cumsum(seen.ended, axis=1) > 0] = 0
    log = right[:, :, None] * _LOG + wrong[:, :, None] * _LOG_NOT
    likelihood: Floats = np.exp(log - log.max(axis=2, keepdims=True))
    if seen.ended is not None:
        likelihood[seen.ended] = np.arange(len(GRID)) == DEAD
    return likelihood


def believe(chain: Chain, seen: Observed) -> Beliefs:
    """Forward-backward over all paths at once: O(B S G^2)."""
    told = evidence(seen)
    if seen.node is not None:
        told *= beside(chain.move, told, seen.node)
        told /= told.max(axis=2, keepdims=True)
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


def beside(move: Floats, told: Floats, node: Integers) -> Floats:
    """(B, S, G): what the other branches of each state say of it, scaled to a largest entry of 1.

    `told` is the evidence of each state alone. From the last states to the first, O(B S G^2).
    """
    others = np.zeros_like(told)
    mine = np.zeros_like(told[:, 0])
    """log M of the child on the same path; a path has none beyond its end, where M is 1."""
    for t in range(told.shape[1] - 2, -1, -1):
        message = moved(_tilted(told[:, t + 1], others[:, t + 1] + mine), move.T)
        _, child = np.unique(node[:, t + 1], return_index=True)
        mine = np.log(np.maximum(message / message.max(axis=1, keepdims=True), TINY))
        parents, parent = np.unique(node[:, t], return_inverse=True)
        together = np.zeros((len(parents), told.shape[2]))
        np.add.at(together, parent[child], mine[child])
        others[:, t] = together[parent] - mine
    scaled: Floats = np.exp(others - others.max(axis=2, keepdims=True))
    return scaled


def _tilted(weights: Floats, logs: Floats) -> Floats:
    """weights * exp(logs), rows scaled."""
    tilted: Floats = weights * np.exp(logs - logs.max(axis=1, keepdims=True))
    return tilted


def moved(rows: Floats, move: Floats) -> Floats:
    """rows @ move, in parts so small that BLAS starts no threads.

    Its threads would wait for each other several times longer than they compute.
    """
    if len(rows) <= ROWS:
        product: Floats = rows @ move
        return product
    return np.concatenate([rows[i : i + ROWS] @ move for i in range(0, len(rows), ROWS)])


def believe_by_rule(chain: Chain, seen: Observed, complete: Integers | None = None) -> Beliefs:
    """Forward-backward over each path up to the state that ends it by the rule.

    `complete` (B,): the rollouts that a state without success needs before it can end its path.
    None: all budgets are done, so any number above 0 is enough. Other branches don't change where a
    path ends, so that a state ends all paths that it is part of, or none.
    """
    beliefs = believe(chain, replace(seen, node=None))
    enough = seen.n > 0 if complete is None else seen.n >= np.maximum(complete, 1)[:, None]
    ends = enough & without_success(beliefs)
    if not ends.any():
        return beliefs if seen.node is None else believe(chain, seen)
    return believe(chain, replace(seen, ended=ends & (np.cumsum(ends, axis=1) == 1)))


def without_success(beliefs: Beliefs) -> Flags:
    """(B, S): states without success that end their path by the rule once they are complete."""
    seen = beliefs.seen
    ending: Flags = (seen.n > 0) & (seen.c == 0) & (beliefs.past[:, :, DEAD] > ENDS)
    return ending


@lru_cache(maxsize=32)
def table_of(settings: LabelSettings) -> RuleTable:
    """The label rule tabulated on `GRID`."""
    return rule_table(GRID.tolist(), settings)


def _beyond(seen: Observed) -> Flags:
    """(B, S): whether the state lies beyond its path's last rolled-out state."""
    beyond: Flags = np.arange(seen.n.shape[1]) >= seen.steps[:, None]
    return beyond


def _medians(values: Floats, falling: Integers, weights: Floats) -> list[float]:
    """Per row of weights, the weighted median: the largest v such that all values >= v have half
    of the weight. `falling`: the order that sorts `values` downwards.
    """
    weight = np.cumsum(weights[:, falling], axis=1)
    half = np.argmax(weight >= weight[:, -1:] / 2, axis=1)
    medians: list[float] = values.ravel()[falling[half]].tolist()
    return medians
