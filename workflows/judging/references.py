"""Checks that the input has the reference solutions that a model is to see."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from storage.errors import ConfigurationError
from storage.rows.records import Problem


def check_references(stage: str, sees: Collection[str], problems: Sequence[Problem]) -> None:
    """Raise ConfigurationError if a stage shows a reference solution and no problem has one.

    If only some problems have one, paths of the others are dropped as `no_reference_solution`.
    """
    there = any(problem.reference_solution for problem in problems)
    if "reference_solution" in sees and not there:
        raise ConfigurationError(
            f"`{stage}.sees` has reference_solution, and the input has no problem with a "
            "reference_solution: add them, or let it see less"
        )
