"""What a list of paths is narrowed by: names of columns and values, as a person types them.

    parse({"state": ["dropped"], "steps": ["4-8"]})

Invariant: a filter is an expression over the index alone; no text of a run is read for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from typing import Literal

import polars as pl

from storage.errors import ConfigurationError
from workflows.browsing.rows import NO_ERROR


@dataclass(frozen=True, slots=True)
class Field:
    """A column to filter by."""

    name: str
    title: str
    kind: Literal["choice", "range", "contains"]
    """`choice`: one of some values; `range`: a number or two, `4`, `4-8`, `4-`; `contains`."""


FIELDS: tuple[Field, ...] = (
    Field("differs", "differs from the run beside it", "choice"),
    Field("state", "state", "choice"),
    Field("stage", "stage", "choice"),
    Field("reason", "reason", "choice"),
    Field("level", "level", "choice"),
    Field("subject", "subject", "choice"),
    Field("source", "source", "choice"),
    Field("correct", "answer right", "choice"),
    Field("first_error", "first error by labels", "choice"),
    Field("judge_first_error", "first error by judge", "choice"),
    Field("form", "form of labels", "choice"),
    Field("votes", "votes", "choice"),
    Field("code", "code", "choice"),
    Field("mark", "mark", "choice"),
    Field("steps", "steps", "range"),
    Field("length", "characters", "range"),
    Field("tokens", "tokens", "range"),
    Field("written", "tokens of the rationale", "range"),
    Field("pass_at_1", "Pass@1", "range"),
    Field("rollouts", "rollouts of a state", "range"),
    Field("path_id", "id", "contains"),
)
BY_NAME = {field.name: field for field in FIELDS}
OF_TWO = "differs"
"""The filter that needs another run beside the one that is listed."""
UNSET = "-"
"""A choice: there is no value."""
_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_RANGE = re.compile(rf"({_NUMBER})?(-)?({_NUMBER})?")


def shown_value(name: str) -> pl.Expr:
    """A column of choices as the words that are offered, under its own name."""
    column = pl.col(name)
    if name in ("first_error", "judge_first_error"):
        named = pl.when(column == NO_ERROR).then(pl.lit("none"))
        return named.otherwise((column + 1).cast(pl.String)).fill_null(UNSET).alias(name)
    if name == "correct":
        return pl.when(column).then(pl.lit("yes")).otherwise(pl.lit("no")).alias(name)
    return column.fill_null(UNSET)


def parse(asked: Mapping[str, Sequence[str]], beside: bool = False) -> pl.Expr | None:
    """One expression for all that is asked; None where nothing is.

    Values of one column are alternatives; `beside`: another run is. Raises ConfigurationError for
    an unknown column or a range that is none.
    """
    every = []
    if OF_TWO in asked and not beside:
        raise ConfigurationError(f"{OF_TWO} is of two runs: open both and put one beside the other")
    for name, values in asked.items():
        if name not in BY_NAME:
            raise ConfigurationError(f"no filter {name!r}: filter by {', '.join(sorted(BY_NAME))}")
        if values:
            every.append(reduce(or_, (_one(BY_NAME[name], value) for value in values)))
    return reduce(and_, every) if every else None


def _one(field: Field, value: str) -> pl.Expr:
    if field.kind == "contains":
        return pl.col(field.name).str.contains(value, literal=True)
    if field.kind == "range":
        return _between(field, value)
    column = pl.col(field.name)
    if field.name in ("first_error", "judge_first_error"):
        if value.isdecimal() and 0 < int(value) < 10_000:
            return column == int(value) - 1
        named = {"none": column == NO_ERROR, UNSET: column.is_null()}
        if value not in named:
            raise ConfigurationError(
                f"{field.name}={value}: name a step, `none` (no step is wrong) or {UNSET!r}"
            )
        return named[value]
    if field.name == "correct":
        if value not in ("yes", "no"):
            raise ConfigurationError(f"correct={value}: yes or no")
        return column if value == "yes" else ~column
    return column.is_null() if value == UNSET else column == value


def _between(field: Field, value: str) -> pl.Expr:
    match = _RANGE.fullmatch(value.strip())
    if match is None or not (match[1] or match[3]):
        raise ConfigurationError(f"{field.name}={value}: write a number or a range, 4, 4-8 or 4-")
    low, dash, high = match[1], match[2], match[3]
    column = pl.col(field.name)
    if not dash:
        return column == float(low)
    ends = [column >= float(low)] if low else []
    ends += [column <= float(high)] if high else []
    return reduce(and_, ends)
