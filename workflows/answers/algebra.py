r"""Compares two values by algebra, the slow way: math-verify on sympy.

It gets only single values and relations, since shapes are compared before. Decimals are passed as
fractions, since math-verify rounds floats to six places. Its own time limit needs the main thread,
so the caller runs it in a process with a limit (`actors.grading.pool`); `reads` does so itself.

Invariant: a text that can't be parsed equals nothing.
"""

from __future__ import annotations

import atexit
import logging
import pickle
import re
import threading
from functools import lru_cache
from typing import Any

from actors.grading.process import Died, GraderProcess, Overdue

_READING_S = 1.0
"""Limit of processor time per text, hundreds of times the time for usual answers."""
_READING_WALL_S = 60.0
_DEGREES = re.compile(r"(\d+)°")
_DIGITS = 20
_MOST_BITS = 12_000
_DECIMAL = re.compile(r"(?<![\d.])(\d*)\.(\d+)")


@lru_cache(maxsize=4096)
def parsed(text: str) -> list[Any]:
    """The sympy expressions that math-verify reads in a cleaned text; empty if it reads none.

    Decimals go in as exact fractions, because math-verify rounds floats to six places.
    """
    # Imported here: sympy takes a second to load, and only processes that compare need it.
    from math_verify import LatexExtractionConfig, parse

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that it has no time limit
    exact = _DECIMAL.sub(
        lambda match: f"\\frac{{{int(match[1] + match[2])}}}{{1{'0' * len(match[2])}}}", text
    )
    config = [LatexExtractionConfig(boxed_match_priority=-1)]
    exact = _DEGREES.sub(r"(\\frac{\1 \\pi}{180})", exact).replace("°", "")
    return list(parse(f"${exact}$", config, fallback_mode="no_fallback", parsing_timeout=None))


class _Reader:
    r"""A process with a time limit that parses: a text may take for ever, `\gcd(9^{9^{9}}, 2)`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: GraderProcess | None = None
        atexit.register(self._close)

    def reads(self, text: str) -> bool:
        with self._lock:
            for _ in range(2):  # a process ends with the thread that started it
                if self._process is None:
                    work = pickle.dumps((_is_read, warm))
                    self._process = GraderProcess(work, _READING_S, _READING_WALL_S)
                try:
                    return bool(next(self._process.compare([(text, "")])))
                except Overdue:
                    self._close()
                    return False
                except Died:
                    self._close()
        return False

    def _close(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None


_READER = _Reader()


@lru_cache(maxsize=4096)
def reads(text: str) -> bool:
    """Whether math-verify can parse a cleaned text within `_READING_S`."""
    return _READER.reads(text)


def _is_read(text: str, _: str) -> bool:
    return bool(parsed(text))


def algebra(reference: str, answer: str) -> bool:
    """Whether two cleaned texts are equal; False if one can't be parsed.

    Constants are compared here, by their digits: math-verify rounds them, so all tiny numbers
    would be equal. It also drops primes and dots, so their counts are compared before.
    """
    if any(reference.count(mark) != answer.count(mark) for mark in ("'", "...")):
        return False
    from math_verify import verify

    gold, given = parsed(reference), parsed(answer)
    if not (gold and given):
        return False
    constants = _same_constant(gold[0], given[0])
    if constants is not None:
        return constants
    return bool(verify(gold, given, strict=True, timeout_seconds=None))


def _same_constant(one: Any, other: Any) -> bool | None:
    """Whether two numbers are equal; None if one of them is no number."""
    from sympy import Expr

    if not all(isinstance(each, Expr) and each.is_number for each in (one, other)):
        return None
    difference = (one - other).doit()
    if difference.is_Rational:
        return bool(difference == 0)
    size = max(abs(_size(one)), abs(_size(other)))
    near = difference.evalf(_DIGITS, maxn=_MOST_BITS + 2 * size)
    if not near.is_number:
        return None
    # A difference of equal numbers keeps at most one bit of precision.
    return all(part == 0 or part._prec <= 1 for part in near.as_real_imag())


def _size(number: Any) -> int:
    """The exponent of 2 of a number's magnitude."""
    from mpmath import mag  # type: ignore[import-untyped]

    near = abs(number).evalf(5)
    return int(mag(near)) if near.is_Float and near else 0


def warm() -> None:
    """Load sympy and the parser, so that the first comparison is not charged for it."""
    algebra("\\sqrt{8}", "2\\sqrt{2}")
