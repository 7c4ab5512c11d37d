"""Ranges of a run's totals from a few of its problems.

The problems are drawn again with replacement (bootstrap), which gives the spread of any figure that
follows from their totals. Student's t makes the range as wide as so few problems need, on a
logarithmic scale, since costs are skewed: a range is `likely` times and divided by one factor.
`python -m benchmarks.plan_coverage` shows how often totals lie within.

Invariant: the same problems give the same range. A range covers 95 % of the totals if problems were
drawn at random; the first problems of a file may be others than the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import exp, log, sqrt
from typing import Any

import mpmath  # type: ignore[import-untyped]
import numpy as np

from workflows.planning.measured import Floats, Measured, Name

LEVEL = 0.95
DRAWS = 400
LEAST_SPREAD = 0.5
"""Problems are taken to differ by at least this share of their mean: a few may be alike by chance.
The demo's differ by 0.3 (tokens of rationales) to 0.8 (tokens of paths)."""
MOST_PROBLEMS = 2000
"""Problems that are drawn from; more would change no figure that is shown."""

Totals = Mapping[Name, Any]
Derived = Callable[[Totals], Any]


@dataclass(frozen=True, slots=True)
class Range:
    """A figure that is not known exactly."""

    low: float
    high: float | None
    """None: not known."""
    likely: float | None = None

    def wider(self, down: float = 1.0, up: float = 1.0) -> Range:
        """The range with its ends moved by these factors."""
        return Range(self.low / down, None if self.high is None else self.high * up, self.likely)

    def plus(self, known: float) -> Range:
        """The range with a known amount added."""
        high, likely = self.high, self.likely
        return Range(
            self.low + known,
            None if high is None else high + known,
            None if likely is None else likely + known,
        )

    def times(self, factor: float) -> Range:
        """The range in another unit."""
        high, likely = self.high, self.likely
        return Range(
            self.low * factor,
            None if high is None else high * factor,
            None if likely is None else likely * factor,
        )


def product(*factors: Range) -> Range:
    """The product of averages that are known only by bounds above 0, independently of each other.

    Their doubts add up as squares of logarithms: it is unlikely that all are high at once.
    """
    middle, squares = 0.0, 0.0
    for factor in factors:
        if factor.high is None or factor.low <= 0:
            raise ValueError(f"{factor} has no bounds above 0")
        middle += (log(factor.low) + log(factor.high)) / 2
        squares += (log(factor.high / factor.low) / 2) ** 2
    return Range(exp(middle - sqrt(squares)), exp(middle + sqrt(squares)))


@dataclass(frozen=True, slots=True)
class Resampled:
    """The totals of a run of `problems`, by the problems of a source."""

    totals: Mapping[Name, float]
    drawn: Mapping[Name, Floats]
    """Name -> its total in each draw."""
    measured: int
    problems: int

    def range_of(self, derive: Derived) -> Range:
        """The range of what follows from totals; no range where none of the problems had any."""
        likely = float(derive(self.totals))
        if likely <= 0:
            return Range(0.0, None, 0.0)
        n = self.measured
        least = LEAST_SPREAD / sqrt(n)
        spread = float(np.std(derive(self.drawn))) / likely * sqrt(n / max(1, n - 1))
        factor = exp(quantile(n) * max(spread, least) * sqrt(1 + n / self.problems))
        return Range(likely / factor, likely * factor, likely)


def resampled(source: Measured, problems: int, seed: int = 0) -> Resampled:
    """Draw the source's problems again and again, for a run of `problems`."""
    rng = np.random.default_rng(seed)
    n = source.problems
    if n > MOST_PROBLEMS:
        source = source.only(rng.choice(n, MOST_PROBLEMS, replace=False))
        n = MOST_PROBLEMS
    counts = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS)
    scale = problems / n
    return Resampled(
        {name: float(values.sum()) * scale for name, values in source.figures.items()},
        {name: counts @ values * scale for name, values in source.figures.items()},
        n,
        problems,
    )


@cache
def quantile(measured: int) -> float:
    """Student's t that leaves (1 - `LEVEL`) / 2 on each side, for a mean of so many values.

    P(|T| > t) is the regularized incomplete beta function at v / (v + t^2), of v / 2 and 1 / 2,
    with v degrees of freedom (Abramowitz and Stegun 26.7.1).
    """
    free = max(1, measured - 1)

    def excess(t: Any) -> Any:
        x = free / (free + t * t)
        return mpmath.betainc(free / 2, 0.5, 0, x, regularized=True) - (1 - LEVEL)

    return float(mpmath.findroot(excess, (1.5, 15.0), solver="anderson"))
