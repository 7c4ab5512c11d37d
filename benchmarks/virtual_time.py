"""Engines and a sandbox that are metered in virtual time (`tests.virtual_time`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from actors.sandbox.contract import Execution, Limits
from tests.scripted_world import InProcessSandbox, InProcessSession


@dataclass
class Seconds:
    """GPU seconds of loaded engines."""

    loaded: float = 0.0
    busy: float = 0.0
    """With at least one request inside."""

    @property
    def idle(self) -> float | None:
        """Share without a request inside; None of no time at all, or less (a drain before the end
        of the start, as small runs have it)."""
        return 1 - self.busy / self.loaded if self.loaded > 0 else None

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.loaded - other.loaded, self.busy - other.busy)


class MeteredClock:
    """The clock of one scripted engine; it knows for how long the engine had something to do."""

    def __init__(self, gpus: int) -> None:
        """The engine takes so many GPUs, and is loaded from now on."""
        self._gpus = gpus
        self._loaded_at = self._now()
        self._busy = 0.0
        self._inside = 0
        self._since = 0.0

    async def sleep(self, seconds: float) -> None:
        """A request is inside for so long."""
        if not self._inside:
            self._since = self._now()
        self._inside += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._inside -= 1
            if not self._inside:
                self._busy += self._now() - self._since

    def seconds(self) -> Seconds:
        """Until now."""
        open_still = self._now() - self._since if self._inside else 0.0
        loaded = self._now() - self._loaded_at
        return Seconds(self._gpus * loaded, self._gpus * (self._busy + open_still))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


class TimedSandbox(InProcessSandbox):
    """One executor: so many sessions open, so many blocks at once, each for some seconds."""

    def __init__(self, sessions: int, slots: int, block_s: float) -> None:
        self._open = asyncio.Semaphore(sessions)
        self._slots = asyncio.Semaphore(slots)
        self._block_s = block_s

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[InProcessSession]:
        """One namespace across blocks, once there is room for it."""
        async with self._open:
            yield _TimedSession(self._slots, self._block_s)


class _TimedSession(InProcessSession):
    def __init__(self, slots: asyncio.Semaphore, block_s: float) -> None:
        super().__init__()
        self._slots, self._block_s = slots, block_s

    async def run(self, code: str, limits: Limits | None = None) -> Execution:
        async with self._slots:
            await asyncio.sleep(self._block_s)
            return await super().run(code, limits)
