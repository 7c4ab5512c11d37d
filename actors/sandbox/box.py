"""A box: one sandbox as the host holds it, with a stream to its supervisor.

Invariant: every call ends within its time, in a well-formed answer or in `SandboxLost`. After
`SandboxLost` the box is closed and never used again. One call is under way at a time, beside the
pings that tell the supervisor that its host is alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from actors.sandbox.contract import SandboxSettings
from actors.sandbox.guest.frames import Decoder, Frame, FrameError, encode
from storage.errors import SandboxLost

START_S = 180.0
"""Seconds for a box to start. An idle machine takes two; a busy one must not count as broken."""
GRACE_S = 5.0
"""Seconds beyond a run's wall limit, within which the supervisor itself ends the run."""


class BoxEnded(SandboxLost):
    """A box ended by itself while it owed an answer: perhaps the code's doing."""


class Link(Protocol):
    """A byte stream to a supervisor, with a way to end its box."""

    name: str

    async def read(self) -> bytes:
        """Return the supervisor's next bytes; b"" at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        ...

    async def close(self) -> str:
        """End the box and everything in it; return its last error output."""
        ...


async def send(stream: asyncio.StreamWriter, data: bytes) -> None:
    """Send bytes to a box. Raises OSError, also where the stream is closed already: the event loop
    of Ray's workers (uvloop) would raise RuntimeError.
    """
    if stream.is_closing():
        raise ConnectionResetError("its stream is closed")
    stream.write(data)
    await stream.drain()


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message to a supervisor."""

    filter: bytes
    namespaces: bool
    keep_children: bool = False
    """The filter lets nobody ignore the end of a child, as nothing else counts its time."""

    def frame(self, settings: SandboxSettings) -> Frame:
        """The message as a frame."""
        most = settings.limits
        fields: dict[str, object] = {
            "patience": settings.reaper_period_s,
            "warm": list(settings.warm),
            "namespaces": self.namespaces,
            "keep_children": self.keep_children,
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

    def __init__(self, link: Link, settings: SandboxSettings, backend: str = "") -> None:
        """`backend`: what encloses it, as executions name it."""
        self.backend = backend
        self.id = f"{link.name}-{secrets.token_hex(3)}"
        self.alive = True
        self._link = link
        self._settings = settings
        self._decoder = Decoder()
        self._answers: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._why = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: asyncio.Task[None] | None = None
        self._tell_gone: Callable[[], object] = lambda: None

    async def start(self, hello: Hello) -> Frame:
        """Say hello and wait for the warm interpreter."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._ping())]
        return await self.ask(hello.frame(self._settings), "ready", START_S)

    async def ask(self, frame: Frame, *kinds_and_timeout: str | float) -> Frame:
        """Send a frame; return the answer, of one of the kinds, within the last argument's seconds.

        If cancelled, it stops the code that runs. The box is then ready for the next call, or lost.
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
        if answer is None:
            await self.close(f"{frame.kind}: it ended")
            raise BoxEnded(f"sandbox {self.id}: {self._why}")
        if answer.kind not in kinds:
            await self.close(f"{frame.kind}: it answered {answer.kind}")
            raise SandboxLost(f"sandbox {self.id}: {self._why}")
        return answer

    async def _abandon(self) -> None:
        """Stop the code that a cancelled caller left running."""
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
        """End the box; return when it is gone. Idempotent."""
        if self.alive:
            self.alive = False
            for task in self._tasks:
                task.cancel()
            self._closing = asyncio.create_task(self._close(why))
        if self._closing is not None:
            # A cancelled caller does not leave it half closed.
            await asyncio.shield(self._closing)

    async def _close(self, why: str) -> None:
        try:
            last = await self._link.close()
            self._why = " ".join(part for part in (why, self._why, last[-300:]) if part)
        finally:
            self._tell_gone()

    def when_gone(self, tell: Callable[[], object]) -> None:
        """Have `tell` called once the box is gone."""
        self._tell_gone = tell
