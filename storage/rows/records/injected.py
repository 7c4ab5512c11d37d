"""The record of a right solution into which one error was put."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Injection:
    """A solution whose first error is known by construction (stages `inject` and `mislead`).

    The first error is the step that was altered: all steps before it are known to be right.
    """

    path_id: str
    """Of the right solution, in whose place this one goes on."""
    problem_id: str
    steps: list[str]
    """The whole solution, as the stages behind read it."""
    first_error: int | None
    """0-based index of the step with the error; None: the solution is untouched."""
    kind: str | None
    """The kind of error; None: untouched."""
    original: str | None
    """The right step in the place of the wrong one; None: untouched."""
    by: str | None
    """Who put the error: `rule`, or the model; None: untouched."""
    carried_by: str | None
    """Who wrote the steps behind it: `rule`, or the model; None: untouched."""
    answer: str | None
    """Content of the last box, as it is compared."""
    correct: bool
    """Whether the answer is right; True just where the solution is untouched."""
    seed: int
    tokens: int
    """Generated tokens of the error and of the steps behind it; 0 by rule."""
