"""Distributes policy samples over the problems of a shard, to fill the most missing quota.

A problem needs `right` right and `wrong` wrong paths. Its samples so far are r right, w wrong and
o others (invalid, duplicate). With a Dirichlet prior (a_r, a_w, a_o) the chance of a class is Beta
distributed. So the number X of n further samples in a class is Beta-binomial. A class that lacks
m paths gains in expectation

    E[min(X, m)] = sum over j = 1..m of P(X >= j);
    P(X = 0) = product over i < n of (b + i) / (a + b + i);
    P(X = k + 1) / P(X = k) = (n-k)(a+k) / ((k+1)(b+n-k-1)).

    V(n) = E[min(X_right, m_right)] + E[min(X_wrong, m_wrong)].

V is concave in n. So the greedy choice, each batch to the problem that gains most from it, solves
the knapsack over the remaining batches. A problem without both classes yields nothing. It is given
up once an unseen class appears within its cap with a chance below `give_up`.

Invariant: depends only on the tallies and settings. Ties go to the earlier problem, so a repeated
shard requests the same samples. At most `left` samples are planned.
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
        """Number of all samples."""
        return self.right + self.wrong + self.other


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingBudget:
    """The quota of right and wrong paths per problem, and the limits of sampling."""

    right: int = 4
    wrong: int = 4
    round: int = 16
    """Samples per batch."""
    cap: int = 2048
    """Most samples per problem."""
    give_up: float = 0.05
    """A problem ends once the chance to ever see its missing class is below this."""
    prior: tuple[float, float, float] = (0.4, 0.4, 0.2)
    """Dirichlet pseudo-counts of right, wrong and other; below 1, since most problems are nearly
    always or nearly never solved."""


def plan(tallies: Sequence[Tally], left: int, budget: SamplingBudget) -> list[int]:
    """Samples to draw next from each problem: at most a batch each, and `left` in total.

    A problem gets a batch if the greedy split of *all* remaining samples gives it any. The outcome
    of the batch is known before the next plan. All zeros: nothing can be gained.
    """
    shares = split(tallies, left, budget)
    batches, room = [], left
    for share in shares:
        batch = min(share, budget.round, room)
        batches.append(batch)
        room -= batch
    return batches


def split(tallies: Sequence[Tally], left: int, budget: SamplingBudget) -> list[int]:
    """The greedy split of `left` samples over the problems, by expected gain per sample."""
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
    """Whether a problem lacks paths of its quota and can still get them."""
    lacks = tally.right < budget.right or tally.wrong < budget.wrong
    return lacks and tally.samples < budget.cap and not is_hopeless(tally, budget)


def is_hopeless(tally: Tally, budget: SamplingBudget) -> bool:
    """Whether an unseen class appears within the cap with a chance below `give_up`."""
    remaining = max(0, budget.cap - tally.samples)
    return any(
        seen == 0 and 1 - _none(*parameters, remaining) < budget.give_up
        for seen, parameters in (
            (tally.right, _right(tally, budget)),
            (tally.wrong, _wrong(tally, budget)),
        )
    )


def expected_gain(tally: Tally, n: int, budget: SamplingBudget) -> float:
    """V(n): the expected number of missing paths in n further samples."""
    return _filled(*_right(tally, budget), n, budget.right - tally.right) + _filled(
        *_wrong(tally, budget), n, budget.wrong - tally.wrong
    )


def _next_gain(tally: Tally, given: int, budget: SamplingBudget) -> float:
    """Expected gain per sample of the batch after `given` further samples."""
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
