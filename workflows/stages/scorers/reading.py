"""A scorer whose model reads a solution and writes nothing: heads, and log-ratios to a reference.

Invariant: a reward is the sigmoid of a step's log-odds; all histories of a solution are equal.
"""

from __future__ import annotations

import math
from copy import copy

from actors.engines.passages import Passage
from actors.engines.reading import Reader
from storage.rows.records import Verification
from workflows.formats.verification import READ
from workflows.stages.scorers.contract import Judging
from workflows.votes.rewards import THRESHOLD


class ReadingScorer:
    """Makes histories of one reader."""

    def __init__(self, reader: Reader, model: str) -> None:
        """`model`: the identity that rows name."""
        self.reader = reader
        self.model = model

    def begin(self, problem: str, name: str, history: int = 0) -> ReadingJudging:
        """Start history `history` of a solution."""
        return ReadingJudging(self, problem, name, history)


class ReadingJudging(Judging):
    """The steps so far; each call reads all of them once."""

    def __init__(self, scorer: ReadingScorer, problem: str, name: str, number: int) -> None:
        self._scorer = scorer
        self._problem, self._name, self._number = problem, name, number
        self._steps: tuple[str, ...] = ()
        self.rewards = []
        self.executions = []
        self.degraded = []
        self.tokens = self.calls = 0
        self.text = ""

    async def judge(self, *steps: str) -> list[float]:
        """See `Judging.judge`."""
        before = len(self._steps)
        self._steps += steps
        read = await self._scorer.reader.read(Passage(self._problem, self._steps))
        self.calls += 1
        self.tokens += read.tokens
        new = [_sigmoid(odds) for odds in read.log_odds[before:]]
        self.rewards += new
        self.degraded += [False] * len(new)
        return new

    def fork(self) -> ReadingJudging:
        """See `Judging.fork`."""
        other = copy(self)
        other.rewards, other.degraded = list(self.rewards), list(self.degraded)
        return other

    def row(self) -> Verification:
        """See `Judging.row`."""
        nothing = [""] * len(self.rewards)
        return Verification(
            response_id=self._name,
            history=self._number,
            mode=READ,
            rewards=self.rewards,
            analyses=nothing,
            verifications=nothing,
            executions=[],
            degraded=self.degraded,
            tokens=self.tokens,
            model=self._scorer.model,
            seed=0,
            verdicts=[reward >= THRESHOLD for reward in self.rewards],
        )

    async def close(self) -> None:
        """Nothing to release."""


def _sigmoid(odds: float) -> float:
    return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))
