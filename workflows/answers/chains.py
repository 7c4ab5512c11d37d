r"""Chains of equalities: `x = 2 + 3 = 5` names x and states the value 5.

Invariant: an equation that has to be solved states no value.
"""

from __future__ import annotations

import re

from workflows.answers.shapes import NAME, Relation
from workflows.answers.units import split_unit
from workflows.answers.values import same_digits, worth

_POWER = re.compile(r"\(?[a-zA-Z]\)?\^(?:\d|\{\d+\})")
_POINT = re.compile(r"\((?:[a-z]\s*,\s*)+[a-z]\)")
_UNSOLVED = re.compile(r"-\s*[a-zA-Z]|[a-zA-Z]\^\{?-1\}?")


def names_something(part: str, at: int) -> bool:
    """Whether member `at` of a chain is a name: x, f(x), and at the first place also e, i."""
    if NAME.fullmatch(part) is None or part.strip() in ("\\pi", "\\infty"):
        return False
    value = worth(part)
    return at == 0 or value is None or bool(value.variables)


def members(relation: Relation) -> list[str]:
    """The members of a chain that are no names; the last member if all are names."""
    values = [part for at, part in enumerate(relation.parts) if not names_something(part, at)]
    return values or [relation.parts[-1]]


def stated(relation: Relation) -> str | None:
    """The member of a chain that is its value; None for an equation that has to be solved.

    `m + n = 5` and `x^2 = 5` state the value 5; `x + 1 = 5` has to be solved for x.
    """
    values = members(relation)
    first, last = values[0], values[-1]
    value = worth(split_unit(last).body)
    if value is not None and not value.variables and _UNSOLVED.fullmatch(relation.parts[0]):
        return None
    if len(values) != 2 or len(relation.parts) != 2 or value is None or value.variables:
        return last
    left = worth(split_unit(first).body)
    if left is None or len(left.variables) != 1 or _POWER.fullmatch(first):
        return last
    if re.search(r"\d", first) and not same_digits(first, last):
        return None
    return last


def turned_around(part: str) -> bool:
    """Whether the names of a point are out of order: (y, x) = (1, 2) is not the point (1, 2)."""
    names = re.findall("[a-z]", part) if _POINT.fullmatch(part) else []
    places = [ord(name) for name in sorted(names)]
    return names != sorted(names) and places == list(range(places[0], places[0] + len(places)))
