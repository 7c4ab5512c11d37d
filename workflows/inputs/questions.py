"""Problems to be solved, whose answers may be unknown.

Invariant: a row has a problem, or the whole place is refused. An answer that is missing, or that
nothing can be compared with, is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from storage.errors import InputError
from storage.rows.records import Problem
from workflows.inputs.problems import Ids, tables_of
from workflows.inputs.shapes import ALIASES, Shape, made_id, problem_column, required_text, shape_of
from workflows.inputs.tables import NotARow


def read_questions(
    source: str, limit: int | None, check_answer: Callable[[str], None]
) -> list[Problem]:
    """The problems of a file or folder in any form that a build reads, or without answers.

    `check_answer` raises InputError for an answer that nothing can be compared with. Raises
    InputError for a row without a problem, and for an id that two rows have.
    """
    found: list[Problem] = []
    ids = Ids()
    for _, prefix, rows in tables_of(source):
        shape: Shape | None = None
        for place, row in rows:
            if limit is not None and len(found) == limit:
                return found
            where = f"{source}, {prefix}{place}"
            if isinstance(row, NotARow) or not isinstance(row, Mapping):
                raise InputError(f"{where}: must be an object with a `problem`")
            shape = shape or _shape(row)
            try:
                found.append(_question(row, shape, ids, place, check_answer))
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
    if not found:
        raise InputError(f"{source}: no problems in it")
    return found


def _shape(row: Mapping[str, object]) -> Shape | None:
    """How a table is read one of whose rows this is; None where the row has no answer."""
    try:
        return shape_of([row])
    except InputError:
        return None


def _question(
    row: Mapping[str, object],
    shape: Shape | None,
    ids: Ids,
    place: str,
    check_answer: Callable[[str], None],
) -> Problem:
    problem = _answered(row, shape, check_answer)
    if problem is None:
        column = problem_column(row)
        if column is None:
            raise InputError("has no `problem` (or `question`): add it")
        text = required_text(row, column)
        names = (name for name in ALIASES["problem_id"] if row.get(name) not in (None, ""))
        named = next(names, None)
        problem = Problem(made_id(text) if named is None else str(row[named]), text, "")
        made = named is None
    else:
        made = shape is not None and "problem_id" not in shape.columns
    if made:
        return replace(problem, problem_id=ids.free(problem.problem_id, place))
    ids.take(problem.problem_id, place)
    return problem


def _answered(
    row: Mapping[str, object], shape: Shape | None, check_answer: Callable[[str], None]
) -> Problem | None:
    """The problem of a row with an answer; None where it has none."""
    if shape is None:
        return None
    try:
        problem = shape.read(row)
    except InputError:
        return None
    try:
        check_answer(problem.answer)
    except InputError:
        return replace(problem, answer="")
    return problem
