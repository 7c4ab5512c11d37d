"""The grader that samplers, completers, votes and the command line use.

Invariant: its verdicts are those of `workflows.answers.equal`, with a time limit per comparison.
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
"""Number of problems whose answers are compared at the same time."""


def grader(settings: AnswerSettings, workers: int = 2) -> Grader:
    """A pool of `workers` processes that compare answers. The caller closes it."""
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
    r"""Whether each answer equals the reference. None never does. Each comparison has a limit.

    >>> grade(r"\frac12", ["0.5", "1/3", None])
    [True, False, False]

    Algebra runs in separate processes, which stay up for the next call. Raises
    InfrastructureError if they can't be started.
    """
    return asyncio.run(_shared().grade(reference, answers))


async def alike(responses: Sequence[Response], graded_by: Grader) -> list[Response]:
    """The responses, with all equal answers of a problem spelled like the first of them.

    So a vote counts answers as the same if the grader calls them equal.
    """
    answers: dict[str, dict[str, str]] = {}
    for row in responses:
        if row.answer is not None:
            answers.setdefault(row.problem_id, {})[row.answer] = row.answer
    problems = list(answers.values())
    for start in range(0, len(problems), _AT_ONCE):
        await together(
            *(_respell(spelled, graded_by) for spelled in problems[start : start + _AT_ONCE])
        )
    return [
        row if row.answer is None else replace(row, answer=answers[row.problem_id][row.answer])
        for row in responses
    ]


async def spelled(answers: Sequence[str], graded_by: Grader) -> dict[str, str]:
    """Answer -> the first of the answers that it equals."""
    known = {answer: answer for answer in answers}
    await _respell(known, graded_by)
    return known


async def _respell(answers: dict[str, str], graded_by: Grader) -> None:
    """Give each answer of a problem the spelling of the first answer that it equals."""
    spellings: list[str] = []
    for answer in answers:
        for known in spellings:
            if (await graded_by.grade(known, [answer])) == [True]:
                answers[answer] = known
                break
        else:
            spellings.append(answer)


def alike_now(responses: Sequence[Response], settings: AnswerSettings) -> list[Response]:
    """`alike`, synchronous and with its own grader."""

    async def work() -> list[Response]:
        pool = grader(settings)
        try:
            return await alike(responses, pool)
        finally:
            await pool.close()

    return asyncio.run(work())
