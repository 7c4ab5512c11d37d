"""A scorer whose rewards are a function, whose histories may be slow, fail, or want a session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from copy import copy

from storage.errors import SandboxLost
from storage.rows.records import Verification
from workflows.stages.scorers.contract import Judging

Prefix = tuple[str, ...]


class KnownScorer:
    """Makes histories that know their rewards."""

    def __init__(
        self,
        reward: Callable[[Prefix, int], float],
        *,
        slow: frozenset[int] = frozenset(),
        fails: Mapping[tuple[int, int], BaseException] | None = None,
        sessions: int | None = None,
    ) -> None:
        """`reward`: of (steps so far, history). `slow`: histories that give way often. `fails`:
        (history, steps before it) -> its error, a lost sandbox once. `sessions`: how many histories
        may have one at a time; each takes one with its first step, and keeps it until closed.
        """
        self.reward = reward
        self.slow = slow
        self.fails = dict(fails or {})
        self.room = asyncio.Semaphore(sessions) if sessions else None
        self.open = 0
        """Histories with a session."""
        self.judged: list[tuple[Prefix, int]] = []
        """In the order in which they were judged."""

    def begin(self, problem: str, name: str, history: int = 0) -> Judging:
        return Known(self, history)


class Known(Judging):
    """One history."""

    def __init__(self, scorer: KnownScorer, number: int) -> None:
        self._scorer, self._number, self._holds = scorer, number, False
        self.steps: Prefix = ()
        self.rewards, self.executions, self.degraded = [], [], []
        self.tokens = self.calls = 0
        self.text = ""

    async def judge(self, *steps: str) -> list[float]:
        scorer = self._scorer
        if scorer.room is not None and not self._holds:
            await scorer.room.acquire()
            self._holds = True
            scorer.open += 1
        for step in steps:
            for _ in range(5 if self._number in scorer.slow else 1):
                await asyncio.sleep(0)
            key = self._number, len(self.steps)
            if (error := scorer.fails.get(key)) is not None:
                if isinstance(error, SandboxLost):
                    del scorer.fails[key]
                raise error
            self.steps = (*self.steps, step)
            self.rewards.append(scorer.reward(self.steps, self._number))
            self.tokens += 10
            scorer.judged.append((self.steps, self._number))
        return self.rewards[len(self.rewards) - len(steps) :]

    def fork(self) -> Judging:
        other = copy(self)
        other.rewards, other._holds = [*self.rewards], False
        return other

    async def close(self) -> None:
        if self._holds and self._scorer.room is not None:
            self._holds = False
            self._scorer.open -= 1
            self._scorer.room.release()

    def row(self) -> Verification:
        return Verification("r", self._number, "cot", self.rewards, [], [], [], [], 0, "m", 0)
