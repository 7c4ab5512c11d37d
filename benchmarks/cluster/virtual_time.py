"""Engines and a sandbox that are metered in virtual time (`tests.support.virtual_time`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from actors.sandbox.contract import Execution, Limits
from tests.support.scripted_world import InProcessSandbox, InProcessSession


@dataclass
class Seconds:
    """GPU seconds of loaded engines."""

    loaded: float = 0.0
    busy: float = 0.0
    """By the share of the engine's places that were at work."""

    @property
    def at_work(self) -> float | None:
        """Share of the places at work; None of no time at all, or less (a drain before the end of
        the start, as small runs have it).
        """
        return self.busy / self.loaded if self.loaded > 0 else None

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.loaded + other.loaded, self.busy + other.busy)

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.loaded - other.loaded, self.busy - other.busy)


class MeteredClock:
    """The clock of one scripted engine; it knows how many of the engine's places were at work.

    A step of a GPU costs nearly the same half empty, so that a place without a sequence is lost.
    """

    def __init__(self, gpus: int, places: int) -> None:
        """The engine takes so many GPUs, has room for so many sequences, and is loaded from now."""
        self._gpus = gpus
        self._places = places
        self._loaded_at = self._now()
        self._worked = 0.0
        """Seconds of places, of sequences that have ended."""
        self._inside = 0
        self._began = 0.0
        """When those inside began, summed."""

    async def sleep(self, seconds: float, sequences: int) -> None:
        """So many sequences have a place each for so long."""
        began = self._now()
        self._inside += sequences
        self._began += sequences * began
        try:
            await asyncio.sleep(seconds)
        finally:
            self._inside -= sequences
            self._began -= sequences * began
            self._worked += sequences * (self._now() - began)

    def seconds(self) -> Seconds:
        """Until now."""
        now = self._now()
        worked = self._worked + self._inside * now - self._began
        return Seconds(self._gpus * (now - self._loaded_at), self._gpus * worked / self._places)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


class TimedSandbox(InProcessSandbox):
    """One executor: so many sessions open, so many blocks at once, each for some seconds."""

    def __init__(self, sessions: int, slots: int, block_s: float) -> None:
        self._open = asyncio.Semaphore(sessions)
        self._now = 0
        self.most = 0
        """Sessions that were open at once."""
        self._slots = asyncio.Semaphore(slots)
        self._block_s = block_s

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[InProcessSession]:
        """One namespace across blocks, once there is room for it."""
        async with self._open:
            self._now += 1
            self.most = max(self.most, self._now)
            try:
                yield _TimedSession(self._slots, self._block_s)
            finally:
                self._now -= 1


class _TimedSession(InProcessSession):
    def __init__(self, slots: asyncio.Semaphore, block_s: float) -> None:
        super().__init__()
        self._slots, self._block_s = slots, block_s

    async def run(self, code: str, limits: Limits | None = None) -> Execution:
        async with self._slots:
            await asyncio.sleep(self._block_s)
            return await super().run(code, limits)
