"""A grader with our meaning of equality: what samplers, completers and the command line use.

Invariant: the verdicts are those of `workflows.answers.equal` with a time limit per comparison.
"""

from __future__ import annotations

from functools import partial

from actors.grader import Grader
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
