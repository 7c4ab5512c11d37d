"""A grader with our meaning of equality: what samplers, completers, votes and the command line use.

Invariant: the verdicts are those of `workflows.answers.equal` with a time limit per comparison.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from actors.grader import Grader
from storage.records import Response
from workflows.answer_algebra import warm
from workflows.answers import equal, quick
from workflows.settings import AnswerSettings


def grader(settings: AnswerSettings, workers: int = 2) -> Grader:
    """A pool of `workers` processes that compare answers; close it when done."""
    return Grader(
        partial(equal, settings=settings),
        partial(quick, settings=settings),
        warm,
        timeout_s=settings.timeout_s,
        workers=workers,
    )


async def alike(responses: Sequence[Response], graded_by: Grader) -> list[Response]:
    """The responses with one spelling for the equal answers of a problem: the first one's.

    What a vote then counts as one answer is what the grader calls equal.
    """
    spellings: dict[str, list[str]] = {}
    first: dict[tuple[str, str], str] = {}
    for row in responses:
        answer = row.answer
        if answer is None or (row.problem_id, answer) in first:
            continue
        known = spellings.setdefault(row.problem_id, [])
        verdicts = await asyncio.gather(*(graded_by.grade(one, [answer]) for one in known))
        equal_to = [one for one, (same,) in zip(known, verdicts, strict=True) if same]
        if not equal_to:
            known.append(answer)
        first[row.problem_id, answer] = equal_to[0] if equal_to else answer
    return [
        row if row.answer is None else replace(row, answer=first[row.problem_id, row.answer])
        for row in responses
    ]


def alike_now(responses: Sequence[Response], settings: AnswerSettings) -> list[Response]:
    """`alike` with a grader of its own."""

    async def work() -> list[Response]:
        pool = grader(settings)
        try:
            return await alike(responses, pool)
        finally:
            await pool.close()

    return asyncio.run(work())
