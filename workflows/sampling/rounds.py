"""Rounds across the problems of a shard: who draws next is decided when all have come back.

Invariant: a plan is asked for only when every problem that still takes part waits, so that it is
pure in what was drawn and not in who was faster; once it asks for nothing, all are done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from storage.rows.records import Path

Allocation = Callable[[Sequence[Sequence[Path]]], Sequence[int]]
"""The paths of every problem of a shard so far -> samples that each draws next."""


class Rounds:
    """One shard's problems, by their positions."""

    def __init__(self, allocation: Allocation, drawn: Sequence[Sequence[Path]]) -> None:
        """`drawn` are the problems' paths, which grow while they draw."""
        self._allocation = allocation
        self._drawn = drawn
        self._taking_part = set(range(len(drawn)))
        self._waiting: dict[int, asyncio.Future[int]] = {}

    async def next(self, problem: int) -> int:
        """Samples that a problem draws next; waits for the others. 0: it is done."""
        self._waiting[problem] = asyncio.get_running_loop().create_future()
        self._decide()
        return await self._waiting[problem]

    def leave(self, problem: int) -> None:
        """The problem is done, or failed; what it drew stays spent."""
        self._taking_part.discard(problem)
        self._waiting.pop(problem, None)
        self._decide()

    def _decide(self) -> None:
        open_still = {p for p, answer in self._waiting.items() if not answer.done()}
        if not self._taking_part or open_still != self._taking_part:
            return
        asked = self._allocation(self._drawn)
        some = any(asked[problem] for problem in self._taking_part)
        for problem in sorted(self._taking_part):
            if asked[problem] or not some:
                self._waiting[problem].set_result(asked[problem])
