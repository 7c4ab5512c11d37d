"""Rounds across the problems of a shard: the next one is planned once all samples have arrived.

Invariant: a plan is made only when all remaining problems wait. So it depends on the samples, not
on the order of their arrival. A plan without samples ends all problems.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from storage.rows.records import Path

Allocation = Callable[[Sequence[Sequence[Path]]], Sequence[int]]
"""Paths of each problem of a shard so far -> number of samples that each draws next."""


class Rounds:
    """The problems of a shard that take part in a round, by position."""

    def __init__(self, allocation: Allocation, drawn: Sequence[Sequence[Path]]) -> None:
        """`drawn`: the paths of each problem; the caller adds to them."""
        self._allocation = allocation
        self._drawn = drawn
        self._taking_part = set(range(len(drawn)))
        self._waiting: dict[int, asyncio.Future[int]] = {}

    async def next(self, problem: int) -> int:
        """Wait for the other problems. Returns the samples to draw next; 0: done."""
        self._waiting[problem] = asyncio.get_running_loop().create_future()
        self._decide()
        return await self._waiting[problem]

    def leave(self, problem: int) -> None:
        """The problem is done or has failed. Its samples still count as spent."""
        self._taking_part.discard(problem)
        self._waiting.pop(problem, None)
        self._decide()

    def _decide(self) -> None:
        open_still = {p for p, answer in self._waiting.items() if not answer.done()}
        if not self._taking_part or open_still != self._taking_part:
            return
        plan = self._allocation(self._drawn)
        some = any(plan[problem] for problem in self._taking_part)
        for problem in sorted(self._taking_part):
            if plan[problem] or not some:
                self._waiting[problem].set_result(plan[problem])
