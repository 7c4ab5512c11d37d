"""Paths of solutions that were there before the run.

Invariant: every solution becomes a path. One that is whole and the first with its steps is usable.
"""

from __future__ import annotations

from collections.abc import Sequence

from storage.rows.records import Path, Response
from workflows.formats import steps
from workflows.formats.steps import flaw


def taken(problem_id: str, solutions: Sequence[Response], rights: Sequence[bool]) -> list[Path]:
    """The paths of a problem's solutions, in their order; those that are usable are selected.

    `rights`: whether each one's answer is right. Without an answer, its file says if it is.
    """
    first_with: dict[str, str] = {}
    paths = []
    for index, (solution, right) in enumerate(zip(solutions, rights, strict=True)):
        name, text = f"{problem_id}#{index}", steps.join(solution.steps)
        known = solution.answer is not None or solution.correct is not None
        reason = flaw("stop", text, "known" if known else None)
        twin = first_with.setdefault(text, name)
        paths.append(
            Path(
                path_id=name,
                problem_id=problem_id,
                index=index,
                round=0,
                text=text,
                steps=list(solution.steps),
                finish_reason="stop",
                answer=solution.answer,
                correct=right if solution.answer is not None else bool(solution.correct),
                valid=reason is None,
                invalid_reason=reason,
                duplicate_of=None if twin == name else twin,
                selected=reason is None and twin == name,
                tokens=0,
                seed=0,
            )
        )
    return paths
