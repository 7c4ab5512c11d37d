"""The inexact numbers of an evaluation: machine floats, or numbers of many digits.

Invariant: both compute the same functions, so a text has the same value with either.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

Value = Any
"""A Fraction if the value is exact, else a number of the expression's `Numbers`."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Arithmetic on inexact numbers: machine floats, or a chosen number of digits."""

    of: Callable[[Value], Any]
    pi: Any
    e: Any
    i: Any
    functions: Mapping[str, Callable[[Any], Any]]
    size: Callable[[Any], int]
    """The least n with |number| < 2 ** n, for a number other than 0."""


FLOATS = Numbers(
    complex, complex(math.pi), complex(math.e), 1j,
    {"sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "ln": cmath.log, "exp": cmath.exp,
     "arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan, "sinh": cmath.sinh,
     "cosh": cmath.cosh, "tanh": cmath.tanh},
    lambda value: math.frexp(abs(value))[1],
)  # fmt: skip


@lru_cache(maxsize=8)
def long_numbers(digits: int) -> Numbers:
    """Arithmetic with `digits` decimal digits."""
    import mpmath  # type: ignore[import-untyped]  # loaded late: only close values need it

    many = mpmath.MPContext()
    many.dps = digits

    def of(value: Value) -> Any:
        if isinstance(value, Fraction):
            return many.mpc(many.mpf(value.numerator) / value.denominator)
        return many.mpc(value)

    return Numbers(
        of, many.mpc(many.pi), many.mpc(many.e), many.mpc(0, 1),
        {"sin": many.sin, "cos": many.cos, "tan": many.tan, "ln": many.ln, "exp": many.exp,
         "arcsin": many.asin, "arccos": many.acos, "arctan": many.atan, "sinh": many.sinh,
         "cosh": many.cosh, "tanh": many.tanh},
        lambda value: int(many.mag(value)),
    )  # fmt: skip


def spelled(token: str) -> Fraction:
    """The exact value of a decimal, which may have repeating digits."""
    if "\\overline" not in token:
        return Fraction(token if not token.endswith(".") else token[:-1])
    head, _, repeated = token.partition("\\overline{")
    repeated = repeated.rstrip("}")
    whole, _, fixed = head.partition(".")
    base = Fraction(f"{whole or 0}.{fixed or 0}")
    return base + Fraction(int(repeated), (10 ** len(repeated) - 1) * 10 ** len(fixed))
