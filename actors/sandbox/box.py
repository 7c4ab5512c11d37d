"""One sandbox as the host holds it: a stream to a supervisor, and what it answers.

Invariant: every call ends in a well-formed answer or in `SandboxLost`, within the time it was
given; after `SandboxLost` the box is closed and never used again. Only one call is under way at a
time, apart from the pings that tell the supervisor its host is alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from typing import Protocol

from actors.sandbox.contract import SandboxSettings
from actors.sandbox.guest.frames import Decoder, Frame, FrameError, encode
from storage.errors import SandboxLost

START_S = 180.0
"""Two seconds on an idle machine; a busy one must not look like a broken one."""
GRACE_S = 5.0
"""On top of a run's wall limit: the supervisor, not this clock, ends a run in time."""


class Link(Protocol):
    """A byte stream to a supervisor, and the means to end what is behind it."""

    name: str

    async def read(self) -> bytes:
        """Return the supervisor's next bytes; none at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        ...

    async def close(self) -> str:
        """End the box and everything in it; return the last it said for itself."""
        ...


@dataclass(frozen=True, slots=True)
class Hello:
    """What a supervisor is told first."""

    filter: bytes
    namespaces: bool

    def frame(self, settings: SandboxSettings) -> Frame:
        """Put it in a frame."""
        most = settings.limits
        fields: dict[str, object] = {
            "patience": settings.reaper_period_s,
            "warm": list(settings.warm),
            "namespaces": self.namespaces,
            "cpus": max(1, round(settings.cpus)),
            "scratch_bytes": most.scratch_mb << 20,
            "scratch_files": most.scratch_files,
            "memory_bytes": most.memory_mb << 20,
            "pids": most.pids,
            "open_files": most.open_files,
            "file_bytes": most.file_mb << 20,
            "cpu_s": settings.longest_wall_s,
        }
        return Frame("hello", fields, (self.filter,))


class Box:
    """A started sandbox."""

    def __init__(self, link: Link, settings: SandboxSettings) -> None:
        self.id = f"{link.name}-{secrets.token_hex(3)}"
        self.alive = True
        self._link = link
        self._settings = settings
        self._decoder = Decoder()
        self._answers: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._why = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, hello: Hello) -> Frame:
        """Say hello and wait for the warm interpreter."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._ping())]
        return await self.ask(hello.frame(self._settings), "ready", START_S)

    async def ask(self, frame: Frame, *kinds_and_timeout: str | float) -> Frame:
        """Send a frame; return the answer of one of these kinds within the last argument's time.

        Cancelled, it stops what runs and leaves the box fit for the next call, or lost.
        """
        *kinds, timeout = kinds_and_timeout
        try:
            return await self._exchange(frame, kinds, float(timeout))
        except asyncio.CancelledError:
            await asyncio.shield(self._abandon())
            raise

    async def _exchange(self, frame: Frame, kinds: list[str | float], timeout: float) -> Frame:
        if not self.alive:
            raise SandboxLost(f"sandbox {self.id}: {self._why or 'closed'}")
        try:
            async with asyncio.timeout(timeout):
                await self._link.write(encode(frame))
                answer = await self._answers.get()
        except (OSError, TimeoutError, FrameError) as error:
            await self.close(f"{frame.kind}: {type(error).__name__} {error}")
            raise SandboxLost(f"sandbox {self.id}: {self._why}") from error
        if answer is None or answer.kind not in kinds:
            said = "ended" if answer is None else f"answered {answer.kind}"
            await self.close(f"{frame.kind}: it {said}")
            raise SandboxLost(f"sandbox {self.id}: {self._why}")
        return answer

    async def _abandon(self) -> None:
        """End what a cancelled caller left running."""
        with contextlib.suppress(SandboxLost):
            await self._exchange(Frame("stop"), ["result", "opened", "shut", "gone"], GRACE_S)

    async def _listen(self) -> None:
        try:
            while data := await self._link.read():
                for frame in self._decoder.feed(data):
                    if frame.kind != "pong":
                        self._answers.put_nowait(frame)
        except (OSError, FrameError, asyncio.IncompleteReadError) as error:
            self._why = f"{type(error).__name__} {error}"
        self._answers.put_nowait(None)

    async def _ping(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                await asyncio.sleep(self._settings.reaper_period_s / 4)
                await self._link.write(encode(Frame("ping")))

    async def close(self, why: str = "closed") -> None:
        """End the box. Idempotent."""
        if not self.alive:
            return
        self.alive = False
        for task in self._tasks:
            task.cancel()
        last = await self._link.close()
        self._why = " ".join(part for part in (why, self._why, last[-300:]) if part)
