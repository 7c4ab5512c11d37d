r"""The slow way to compare two values: math-verify, on sympy.

It sees single values and relations only (shapes are compared before), and no decimals, because
it rounds floats to six places. It has no time limit of its own: its alarm needs the main thread,
so whoever calls it limits the process (`actors.grader`).

Invariant: what can't be parsed equals nothing.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

_DEGREES = re.compile(r"(\d+)°")
_DECIMAL = re.compile(r"(?<![\d.])(\d*)\.(\d+)")


@lru_cache(maxsize=4096)
def parsed(text: str) -> list[Any]:
    """What math-verify reads in a cleaned text: sympy expressions, empty where it reads none.

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


def algebra(reference: str, answer: str) -> bool:
    """math-verify's verdict on two cleaned texts; what it can't parse is not equal."""
    from math_verify import verify

    gold, given = parsed(reference), parsed(answer)
    return bool(gold and given and verify(gold, given, strict=True, timeout_seconds=None))


def warm() -> None:
    """Load sympy and the parser: seconds that no comparison should be charged for."""
    algebra("\\sqrt{8}", "2\\sqrt{2}")
