r"""The numerical value of an answer: a small evaluator of LaTeX expressions, exact for rationals.

It decides most comparisons in tens of microseconds. Rational expressions are evaluated with
`Fraction`, so both verdicts are certain; a decimal is the fraction it spells (0.333 is not 1/3).
With a root, pi or a function the value is a complex float. Clearly different floats are unequal;
close ones are compared with as many digits as necessary. Variables get fixed random rationals, so
different polynomials come out equal with a chance below one in a million.

Invariant: `same_value` never returns True on floats. `same_digits` returns True only for values
that agree far below the smallest intermediate term of either. So only zero equals zero, and near
numbers differ: 1 and 1 - 2 ** -700, or a small angle and its sine.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from workflows.answers.expression import POSITIVE, Endless, Expression, SeveralRoots, Unreadable
from workflows.answers.numbers import Numbers, Value, long_numbers

POINTS = 2
_MAX_CHARS = 1000
_CLOSE = 1e-9
_DIGITS = 160
"""Digits of the first comparison; a second one uses more if these are too few."""
_SPARE = 60
_SAME = 150
"""Bits in which equal values agree, at least..."""
_ORDERS = 4
"""... plus so many times the bits of the largest and smallest term: sin x and x differ by about the
third power of x."""
_MOST_DIGITS = 4000


@dataclass(frozen=True, slots=True)
class Worth:
    """Values of an expression at the fixed points; a single value if it has no variables."""

    values: tuple[Value, ...]
    high: int
    """All intermediate values are below 2 ** high, to which the error of floats is relative."""
    variables: frozenset[str]


@lru_cache(maxsize=16384)
def worth(text: str) -> Worth | None:
    """Evaluate a cleaned expression; None if it can't be read or is too large."""
    if len(text) > _MAX_CHARS:
        return None
    try:
        first = Expression(text, 0)
        values, high = [first.whole()], first.high
        if first.variables:
            for point in range(1, POINTS):
                other = Expression(text, point)
                values.append(other.whole())
                high = max(high, other.high)
        if not all(isinstance(value, Fraction) or cmath.isfinite(value) for value in values):
            return None
    except (Unreadable, ArithmeticError, ValueError, RecursionError):
        return None  # algebra may read it
    return Worth(tuple(values), high, frozenset(first.variables))


def near(value: Value) -> complex | None:
    """A value as a complex float; None if it is out of range."""
    try:
        return complex(value)
    except OverflowError:
        return None


def same_value(one: Worth, other: Worth) -> bool | None:
    """Whether two expressions have the same value; None if their floats are too close to tell."""
    exact = True
    pairs = list(zip(one.values, other.values, strict=False))
    if len(one.values) != len(other.values):  # only one expression has variables
        shorter, longer = sorted((one.values, other.values), key=len)
        pairs = [(shorter[0], value) for value in longer]
    for a, b in pairs:
        if isinstance(a, Fraction) and isinstance(b, Fraction):
            if a != b:
                return False
        else:
            exact = False
            try:
                if abs(complex(a) - complex(b)) > _CLOSE * 2.0 ** max(one.high, other.high):
                    return False
            except OverflowError:  # beyond the range of floats
                return None
    return True if exact else None


@lru_cache(maxsize=4096)
def same_digits(one: str, other: str) -> bool | None:
    """Whether two expressions agree in all relevant digits; None if one can't be read.

    The sizes of the intermediate values decide how many digits are relevant. Different closed
    forms as short as an answer differ earlier, and so do different functions at random points.
    """
    try:
        return _same_at(one, other, range(POINTS))
    except Endless:
        return False
    except SeveralRoots:
        with suppress(Unreadable, ArithmeticError, ValueError, RecursionError):
            return _same_at(one, other, range(POSITIVE, POSITIVE + POINTS))
    except (Unreadable, ArithmeticError, ValueError, RecursionError):
        pass
    return None


def _same_at(one: str, other: str, points: range) -> bool | None:
    for point in points:
        first, second = (Expression(text, point, long_numbers(_DIGITS)) for text in (one, other))
        values = [first.whole(), second.whole()]
        low, high = min(first.low, second.low), max(first.high, second.high)
        numbers = long_numbers(_DIGITS)
        if _size(numbers, values) > high - _SAME:
            return False
        agreed = _ORDERS * (low - high) - _SAME
        needed = _SPARE + int((high - _ORDERS * (low - high)) * math.log10(2))
        if needed > _MOST_DIGITS:
            return None
        digits = _DIGITS << max(0, math.ceil(math.log2(needed / _DIGITS)))
        numbers = long_numbers(digits)
        if digits > _DIGITS:
            values = [Expression(text, point, numbers).whole() for text in (one, other)]
        if _size(numbers, values) > agreed:
            return False
        if not first.variables | second.variables:
            break
    return True


def _size(numbers: Numbers, values: Sequence[Value]) -> float:
    """The exponent of 2 of the difference of two values; minus infinity if it is 0."""
    difference = numbers.of(values[0]) - numbers.of(values[1])
    return numbers.size(difference) if difference else -math.inf


def ratio(one: Worth, other: Worth) -> bool:
    """Whether one expression is a constant, non-zero multiple of the other (exactly)."""
    if len(one.values) != len(other.values) or len(one.values) < POINTS:
        return False
    ratios = set()
    for a, b in zip(one.values, other.values, strict=True):
        if not (isinstance(a, Fraction) and isinstance(b, Fraction)) or a == 0 or b == 0:
            return False
        ratios.add(a / b)
    return len(ratios) == 1
