"""Where the next policy samples fill the most missing quota, across the problems of a shard.

A problem wants `right` right and `wrong` wrong paths. What a sample of it will be is unknown:
with tallies (r, w, o) of right, wrong and other (invalid, duplicate) samples and a Dirichlet prior
(a_r, a_w, a_o) the chance of a class is Beta distributed, X of n further samples fall into it with
the Beta-binomial law, and a class that lacks m paths is expected to gain

    E[min(X, m)] = sum over j = 1..m of P(X >= j)
    P(X = 0) = product over i < n of (b + i) / (a + b + i)
    P(X = k + 1) / P(X = k) = (n - k) (a + k) / ((k + 1) (b + n - k - 1))

    V(n) = E[min(X_right, m_right)] + E[min(X_wrong, m_wrong)]

V is concave in n, so giving each batch to the problem that gains most from it (greedy) solves the
knapsack over the batches that are left. A problem is given up once the chance that a class it has
not seen at all ever shows within its own budget falls under `give_up`: without both classes it
yields nothing.

Invariant: pure in the tallies and settings; ties go to the earlier problem, so that a repeated
shard asks for the same samples. No more than `left` samples are ever planned.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tally:
    """The usable right, usable wrong and other samples of one problem."""

    right: int = 0
    wrong: int = 0
    other: int = 0

    @property
    def samples(self) -> int:
        """All of them."""
        return self.right + self.wrong + self.other


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingBudget:
    """What is wanted of each problem, and how far to go for it."""

    right: int = 4
    wrong: int = 4
    round: int = 16
    """Samples of one batch."""
    cap: int = 2048
    """Most samples of one problem."""
    give_up: float = 0.05
    """A problem ends where the chance of ever seeing a class it lacks falls under this."""
    prior: tuple[float, float, float] = (0.4, 0.4, 0.2)
    """Dirichlet pseudo-counts of right, wrong and other: under 1, since problems lie at the
    ends more often than between them."""


def plan(tallies: Sequence[Tally], left: int, budget: SamplingBudget) -> list[int]:
    """Samples to draw next from each problem, at most one batch each and `left` in all.

    A problem gets its batch now if the greedy split of *all* that is left gives it any: what the
    batch shows is known before the next one is planned. Empty of samples: nothing can be gained.
    """
    shares = split(tallies, left, budget)
    asked, room = [], left
    for share in shares:
        batch = min(share, budget.round, room)
        asked.append(batch)
        room -= batch
    return asked


def split(tallies: Sequence[Tally], left: int, budget: SamplingBudget) -> list[int]:
    """The greedy split of `left` samples in batches: most expected quota."""
    shares = [0] * len(tallies)
    heap: list[tuple[float, int]] = []
    for index, tally in enumerate(tallies):
        if is_open(tally, budget):
            gain = _next_gain(tally, 0, budget)
            heapq.heappush(heap, (-gain, index))
    while heap and left > 0:
        gain, index = heapq.heappop(heap)
        tally = tallies[index]
        batch = min(budget.round, left, budget.cap - tally.samples - shares[index])
        if gain >= 0 or batch <= 0:
            continue
        shares[index] += batch
        left -= batch
        heapq.heappush(heap, (-_next_gain(tally, shares[index], budget), index))
    return shares


def is_open(tally: Tally, budget: SamplingBudget) -> bool:
    """Whether a problem lacks quota and may still get what it needs."""
    lacks = tally.right < budget.right or tally.wrong < budget.wrong
    return lacks and tally.samples < budget.cap and not is_hopeless(tally, budget)


def is_hopeless(tally: Tally, budget: SamplingBudget) -> bool:
    """Whether a class that was never seen will hardly show within the problem's own cap."""
    remaining = max(0, budget.cap - tally.samples)
    return any(
        seen == 0 and 1 - _none(*parameters, remaining) < budget.give_up
        for seen, parameters in (
            (tally.right, _right(tally, budget)),
            (tally.wrong, _wrong(tally, budget)),
        )
    )


def expected_gain(tally: Tally, n: int, budget: SamplingBudget) -> float:
    """V(n): the missing paths that n further samples are expected to bring."""
    return _filled(*_right(tally, budget), n, budget.right - tally.right) + _filled(
        *_wrong(tally, budget), n, budget.wrong - tally.wrong
    )


def _next_gain(tally: Tally, given: int, budget: SamplingBudget) -> float:
    """Of one more batch, per sample."""
    batch = min(budget.round, budget.cap - tally.samples - given)
    if batch <= 0:
        return 0.0
    more = expected_gain(tally, given + batch, budget) - expected_gain(tally, given, budget)
    return more / batch


def _right(tally: Tally, budget: SamplingBudget) -> tuple[float, float]:
    right, wrong, other = budget.prior
    return tally.right + right, tally.wrong + tally.other + wrong + other


def _wrong(tally: Tally, budget: SamplingBudget) -> tuple[float, float]:
    right, wrong, other = budget.prior
    return tally.wrong + wrong, tally.right + tally.other + right + other


def _none(a: float, b: float, n: int) -> float:
    """P(X = 0) of the Beta-binomial law: B(a, b + n) / B(a, b)."""
    return math.exp(
        math.lgamma(b + n) - math.lgamma(b) + math.lgamma(a + b) - math.lgamma(a + b + n)
    )


def _filled(a: float, b: float, n: int, missing: int) -> float:
    """E[min(X, missing)] of the Beta-binomial law."""
    if missing <= 0 or n <= 0:
        return 0.0
    chance = _none(a, b, n)
    fewer, filled = 0.0, 0.0
    for k in range(min(missing, n)):
        fewer += chance
        filled += 1 - fewer  # P(X >= k + 1)
        chance *= (n - k) * (a + k) / ((k + 1) * (b + n - k - 1))
    return max(0.0, filled)
