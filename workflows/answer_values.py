r"""What an answer is worth: a small evaluator of LaTeX expressions, exact where it can be.

It decides most comparisons in tens of microseconds. Rational expressions are evaluated with
`Fraction`, so equal and unequal are both certain; a decimal is the fraction it spells (0.333 is
not 1/3). Where a root, pi or a function enters, the value is a complex float: clearly different
values are unequal, close constants are compared by 40 digits, the rest is left to algebra.
Variables get fixed random rationals, so that equal polynomials are equal but for a chance of less
than one in a million.

Invariant: `same_value` never says True on floats, and says None wherever it can't be sure.
"""

from __future__ import annotations

import cmath
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from workflows.answer_expression import Expression, Unreadable
from workflows.answer_numbers import Value, long_numbers

POINTS = 2
_MAX_CHARS = 1000
_CLOSE = 1e-9
_SAME = 1e-40


@dataclass(frozen=True, slots=True)
class Worth:
    """Values of an expression at the fixed points; one value where it has no variables."""

    values: tuple[Value, ...]
    scale: float
    """Largest magnitude met on the way: what floats may have lost is relative to it."""
    variables: frozenset[str]


@lru_cache(maxsize=16384)
def worth(text: str) -> Worth | None:
    """Evaluate a cleaned expression; None where it can't be read or is too large."""
    if len(text) > _MAX_CHARS:
        return None
    try:
        first = Expression(text, 0)
        values = [first.whole()]
        scale = first.scale
        if first.variables:
            for point in range(1, POINTS):
                other = Expression(text, point)
                values.append(other.whole())
                scale = max(scale, other.scale)
        if not all(isinstance(value, Fraction) or cmath.isfinite(value) for value in values):
            return None
    except (Unreadable, ArithmeticError, ValueError, RecursionError):
        return None  # not a failure: whatever is not read here is left to algebra
    return Worth(tuple(values), scale, frozenset(first.variables))


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
            scale = max(one.scale, other.scale)
            try:
                if abs(complex(a) - complex(b)) > _CLOSE * scale:
                    return False
            except OverflowError:  # beyond the range of floats: algebra decides
                return None
    return True if exact else None


def same_digits(one: str, other: str) -> bool | None:
    """Whether two constants agree to 40 digits; None where one can't be read or has variables.

    Different closed forms of the size of an answer do not agree that far.
    """
    try:
        numbers = long_numbers()
        first, second = Expression(one, numbers=numbers), Expression(other, numbers=numbers)
        a, b = numbers.of(first.whole()), numbers.of(second.whole())
    except (Unreadable, ArithmeticError, ValueError, RecursionError):
        return None
    if first.variables or second.variables:
        return None
    return bool(abs(a - b) <= _SAME * max(first.scale, second.scale))


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
