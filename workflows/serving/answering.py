"""The verifier of one replica: questions in, the parts of an answer out.

Invariant: an answer has the rewards that a score run of the same settings gives to the same problem
and steps under the same name, as far as the engine does not depend on what else it works on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from typing import Any

from actors.engines.admission import Queue, Work, work
from actors.sandbox.contract import Sandbox
from actors.sandbox.paced import PacedSandbox
from storage.rows.records import Verification
from workflows.formats.verification import VerifySettings
from workflows.scoring.scorer import open_kit
from workflows.serving.questions import Question
from workflows.serving.settings import ServeConfig
from workflows.stages.kit import Kit
from workflows.stages.scorers.contract import Judging, Scored, Scorer, nobody, score
from workflows.stages.scorers.opening import scorer_of

SETTINGS_AT_ONCE = 1024
"""Pairs of mode and seed whose scorers are kept."""


@dataclass(frozen=True, slots=True)
class StepJudged:
    """A part of an answer: one history has judged one more step."""

    step: int
    """0-based."""
    row: Verification
    """The history, with what belongs to this step alone."""


class Answerer:
    """An implementation of `actors.serving.contract.Answerer`."""

    def __init__(self, kit: Kit[VerifySettings], held: AsyncExitStack, mortal: bool) -> None:
        self._kit = kit
        self._held = held
        self.mortal = mortal
        self._queue = Queue()
        self._begun = count()

        @lru_cache(SETTINGS_AT_ONCE)
        def scorer(mode: Any, seed: int) -> Scorer:
            settings = replace(kit.settings, mode=mode, seed=seed)
            return scorer_of(replace(kit, settings=settings))

        self._scorer = scorer

    async def answer(self, question: Question) -> Scored:
        """The rewards of a solution. Raises ItemError where no history ended with rewards."""
        return await self._score(question, None)

    async def stream(self, question: Question) -> AsyncIterator[StepJudged | Scored]:
        """Each step of each history once it is judged, then the whole. Raises as `answer`."""
        parts: asyncio.Queue[StepJudged | None] = asyncio.Queue()
        scoring = asyncio.create_task(self._score(question, parts))
        scoring.add_done_callback(lambda task: parts.put_nowait(None))
        try:
            while (part := await parts.get()) is not None:
                yield part
            yield scoring.result()
        finally:
            scoring.cancel()
            await asyncio.gather(scoring, return_exceptions=True)

    async def close(self) -> None:
        """Close the engine."""
        await self._held.aclose()

    async def _score(
        self, question: Question, parts: asyncio.Queue[StepJudged | None] | None
    ) -> Scored:
        work.set(Work(next(self._begun), self._queue))  # the oldest question goes first

        def judged(judging: Judging) -> None:
            assert parts is not None
            parts.put_nowait(_last_step(judging.row()))

        return await score(
            self._scorer(question.mode, question.seed), question.problem, question.steps,
            question.name, question.n, judged=nobody if parts is None else judged,
        )  # fmt: skip


def _last_step(row: Verification) -> StepJudged:
    """The last step of a history so far."""
    step = len(row.rewards) - 1
    return StepJudged(
        step,
        replace(
            row,
            rewards=row.rewards[step:],
            verdicts=row.verdicts[step:],
            analyses=row.analyses[step:],
            verifications=row.verifications[step:],
            degraded=row.degraded[step:],
            executions=[run for run in row.executions if run.step == step],
        ),
    )


async def open_answerer(config: ServeConfig, sandbox: Sandbox | None) -> Answerer:
    """Open the verifier of a replica. Raises UserError and InfrastructureError."""
    verifier = config.models.verifier
    if sandbox is not None:
        sandbox = PacedSandbox(sandbox, verifier.in_flight)
    async with AsyncExitStack() as held:
        kit = await held.enter_async_context(open_kit(config, sandbox))
        scorer_of(kit)  # refuses a tokenizer that can't be a verifier's
        return Answerer(kit, held.pop_all(), mortal=not verifier.served)
    raise AssertionError("unreachable")
