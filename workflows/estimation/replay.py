"""Replays a budget on stored rollouts: which it would have requested, and their outcomes.

Rollout i of a state is the same under every budget, as in a run, so budgets are compared on equal
luck.

Invariant: a replay calls `workflows.estimation.budgets.decide`, the rule that runs use, until it
requests no more. It sees only rollouts that it requested.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workflows.estimation.budgets import believed, decide
from workflows.estimation.posterior import (
    Beliefs,
    Chain,
    Flags,
    Integers,
    Observed,
    believe_by_rule,
)
from workflows.settings import SMOOTHED, EstimateSettings, LabelSettings


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """All rollouts that a budget can request for B paths of up to S states."""

    right: Integers
    """(B, S, N + 1): right rollouts among the first n of a state."""
    steps: Integers
    """(B,): T of each path; its rolled-out states are 0..T-1."""
    correct: Flags
    """(B,): whether the path's own answer is right."""

    @classmethod
    def of(cls, hits: Flags, steps: Integers, correct: Flags) -> Outcomes:
        """From (B, S, N) single rollouts."""
        none = np.zeros((*hits.shape[:2], 1), dtype=np.int64)
        right = np.concatenate([none, np.cumsum(hits, axis=2, dtype=np.int64)], axis=2)
        return cls(right, steps, correct)

    @property
    def within(self) -> Flags:
        """(B, S): whether step t exists."""
        there: Flags = np.arange(self.right.shape[1]) < self.steps[:, None]
        return there

    def first(self, n: Integers) -> Integers:
        """(B, S): right rollouts among the first n of each state; `n` is (B, S)."""
        right: Integers = np.take_along_axis(self.right, n[:, :, None], axis=2)[:, :, 0]
        return right

    def observed(self, n: Integers) -> Observed:
        """The counts after the first n rollouts of each state; `n` is (B, S)."""
        return Observed(n, self.first(n), self.steps, self.correct)


def allocated(
    outcomes: Outcomes,
    k: Integers,
    chain: Chain,
    settings: EstimateSettings,
    labels: LabelSettings,
) -> Beliefs:
    """Beliefs once the budget requests no more; `seen.n` is what it requested. `k` is (B,).

    State 0 starts with K rollouts. A budget that needs no chain requests K in every state.
    """
    n = np.where(outcomes.within, k[:, None], 0)
    if settings.mc_budget in SMOOTHED:
        n[:, 1:] = 0
        active = np.ones(len(n), dtype=bool)
        while active.any():
            known = outcomes.observed(n)
            part = Observed(known.n[active], known.c[active], known.steps[active],
                            known.correct[active])  # fmt: skip
            beliefs = believed(chain, part, k[active], settings)
            more = decide(beliefs, k[active], settings, labels)
            n[active] += more
            active[np.flatnonzero(active)[~more.any(axis=1)]] = False
    return believe_by_rule(chain, outcomes.observed(n))
