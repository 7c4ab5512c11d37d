"""A grader with our meaning of equality: what samplers, completers, votes and the command line use.

Invariant: the verdicts are those of `workflows.answers.equal` with a time limit per comparison.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

from actors.engines.admission import together
from actors.grading.pool import Grader
from actors.stopping import anywhere
from storage.rows.records import Response
from workflows.answers import equal, quick
from workflows.answers.algebra import warm
from workflows.settings import AnswerSettings

_AT_ONCE = 64
"""Problems whose answers are compared at the same time."""


def grader(settings: AnswerSettings, workers: int = 2) -> Grader:
    """A pool of `workers` processes that compare answers; close it when done."""
    return Grader(
        partial(equal, settings=settings),
        partial(quick, settings=settings),
        warm,
        timeout_s=settings.timeout_s,
        workers=workers,
    )


@cache
def _shared() -> Grader:
    return grader(AnswerSettings())


@anywhere
def grade(reference: str, answers: Sequence[str | None]) -> list[bool]:
    r"""Whether each answer equals a reference; None never does, and no comparison takes long.

    >>> grade(r"\frac12", ["0.5", "1/3", None])
    [True, False, False]

    What takes algebra is compared in processes of their own, which stay up for the next call.
    Raises InfrastructureError where they can't be started.
    """
    return asyncio.run(_shared().grade(reference, answers))


async def alike(responses: Sequence[Response], graded_by: Grader) -> list[Response]:
    """The responses with one spelling for the equal answers of a problem: the first one's.

    What a vote then counts as one answer is what the grader calls equal.
    """
    answers: dict[str, dict[str, str]] = {}
    for row in responses:
        if row.answer is not None:
            answers.setdefault(row.problem_id, {})[row.answer] = row.answer
    problems = list(answers.values())
    for start in range(0, len(problems), _AT_ONCE):
        await together(
            *(_respell(found, graded_by) for found in problems[start : start + _AT_ONCE])
        )
    return [
        row if row.answer is None else replace(row, answer=answers[row.problem_id][row.answer])
        for row in responses
    ]


async def _respell(answers: dict[str, str], graded_by: Grader) -> None:
    """Give each answer of one problem the spelling of the first that it is equal to."""
    spellings: list[str] = []
    for answer in answers:
        for known in spellings:
            if (await graded_by.grade(known, [answer])) == [True]:
                answers[answer] = known
                break
        else:
            spellings.append(answer)


def alike_now(responses: Sequence[Response], settings: AnswerSettings) -> list[Response]:
    """`alike` with a grader of its own."""

    async def work() -> list[Response]:
        pool = grader(settings)
        try:
            return await alike(responses, pool)
        finally:
            await pool.close()

    return asyncio.run(work())
