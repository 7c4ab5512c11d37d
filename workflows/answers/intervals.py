r"""Finite unions of real intervals: union, intersection and complement.

Invariant: two close ends are equal only if all their digits are; open and closed ends differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cmp_to_key

from workflows.answers.values import same_digits


@dataclass(frozen=True, slots=True)
class End:
    """An end of an interval."""

    value: float
    text: str

    def order(self, other: End) -> int:
        """-1, 0 or 1: less than, equal to or greater than `other`, by all digits if close."""
        if self.text == other.text or self.value == other.value == math.inf:
            return 0
        if math.isclose(self.value, other.value, rel_tol=1e-9, abs_tol=1e-9) and same_digits(
            self.text, other.text
        ):
            return 0
        return -1 if self.value < other.value else 1


LOWEST, HIGHEST = End(-math.inf, "-\\infty"), End(math.inf, "\\infty")


@dataclass(frozen=True, slots=True)
class Interval:
    """The numbers between two ends; a single number if both are equal and closed."""

    low: End
    high: End
    low_in: bool
    high_in: bool

    @property
    def empty(self) -> bool:
        """Whether it contains no number."""
        order = self.low.order(self.high)
        return order > 0 or (order == 0 and not (self.low_in and self.high_in))


Numbers = tuple[Interval, ...]
"""Disjoint intervals that do not touch, in ascending order."""
ALL: Numbers = (Interval(LOWEST, HIGHEST, False, False),)


def union(intervals: Iterable[Interval]) -> Numbers:
    """The union of intervals."""
    merged: list[Interval] = []
    for interval in sorted(intervals, key=cmp_to_key(_first)):
        last = merged[-1] if merged else None
        gap = 1 if last is None else interval.low.order(last.high)
        if last is None or gap > 0 or (gap == 0 and not (interval.low_in or last.high_in)):
            merged.append(interval)
            continue
        order = interval.high.order(last.high)
        reach = interval if order > 0 else last
        closed = last.high_in or interval.high_in if order == 0 else reach.high_in
        merged[-1] = Interval(last.low, reach.high, last.low_in, closed)
    return tuple(merged)


def _first(one: Interval, other: Interval) -> int:
    """Sort order: by the low end, closed before open."""
    return one.low.order(other.low) or other.low_in - one.low_in


def outside(numbers: Numbers) -> Numbers:
    """The complement: all other real numbers."""
    gaps: list[Interval] = []
    low, low_in = LOWEST, False
    for interval in numbers:
        gaps.append(Interval(low, interval.low, low_in, not interval.low_in))
        low, low_in = interval.high, not interval.high_in
    gaps.append(Interval(low, HIGHEST, low_in, False))
    return tuple(gap for gap in gaps if not _nothing(gap))


def _nothing(gap: Interval) -> bool:
    infinite = math.isinf(gap.low.value) and gap.low.value == gap.high.value
    return infinite or gap.empty


def common(one: Numbers, other: Numbers) -> Numbers:
    """The intersection."""
    return outside(union((*outside(one), *outside(other))))
