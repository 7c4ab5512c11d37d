r"""What an answer is worth: a small evaluator of LaTeX expressions, exact where it can be.

It decides most comparisons in tens of microseconds. Rational expressions are evaluated with
`Fraction`, so equal and unequal are both certain; a decimal is the fraction it spells (0.333 is
not 1/3). Where a root, pi or a function enters, the value is a complex float: clearly different
values are unequal, close ones are compared with as many digits as it takes. Variables get fixed
random rationals, so that equal polynomials are equal but for a chance of less than one in a
million.

Invariant: `same_value` never says True on floats. `same_digits` says True only for values that
agree far below the smallest term on the way to either: zero alone equals zero, and a number that is
nearly another (1 - 2 ** -700, the sine of a small angle) is not that number.
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
"""Digits of the first look; where they are too few, a second one has what it takes."""
_SPARE = 60
_SAME = 150
"""Bits in which equal values agree, at the least..."""
_ORDERS = 4
"""... and so many times the bits of the largest and of the smallest term: sin x and x differ by the
third power of x."""
_MOST_DIGITS = 4000


@dataclass(frozen=True, slots=True)
class Worth:
    """Values of an expression at the fixed points; one value where it has no variables."""

    values: tuple[Value, ...]
    high: int
    """The largest value met on the way is below 2 ** high: what floats lost is relative to it."""
    variables: frozenset[str]


@lru_cache(maxsize=16384)
def worth(text: str) -> Worth | None:
    """Evaluate a cleaned expression; None where it can't be read or is too large."""
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
        return None  # not a failure: whatever is not read here is left to algebra
    return Worth(tuple(values), high, frozenset(first.variables))


def near(value: Value) -> complex | None:
    """A value as a float; None for one beyond their range."""
    try:
        return complex(value)
    except OverflowError:
        return None


def same_value(one: Worth, other: Worth) -> bool | None:
    """Whether two expressions have the same value; None where floats come too close to say."""
    exact = True
    pairs = list(zip(one.values, other.values, strict=False))
    if len(one.values) != len(other.values):  # only one of them has variables
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
    """Whether two expressions agree in all digits that matter; None where one can't be read.

    How many matter is known once the values on the way are: their sizes decide the precision.
    Different closed forms of the size of an answer do not agree that far, nor do different
    functions at points that nobody chose.
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
    """The exponent of 2 of the difference of two values; minus infinity for none."""
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
