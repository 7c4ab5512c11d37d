"""A sandbox of several slots: at most so many runs and blocks at once, each in a box of its own.

A session keeps its box between its blocks, but no slot: there may be more sessions open than
slots (`sessions`), and what is parked takes memory alone. Boxes open when they are first needed,
and a run takes a warm one where there is one.

Invariant: a lost box is replaced and its run tried again, at most `attempts` times; a block of a
session is never tried again, because its variables are gone with the box. When `close` returns no
box is left. A run that is cancelled frees its slot. A place has one owner: a session gives it back
when nothing of the session is on its way to the box any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import Protocol

from actors.sandbox.box import GRACE_S, Box
from actors.sandbox.contract import (
    Execution,
    Limits,
    Request,
    SandboxSettings,
    Session,
    SessionDead,
)
from actors.sandbox.guest.frames import Frame, FrameError
from actors.sandbox.requests import block_frame, open_frame, run_frame
from actors.sandbox.turnstile import Turnstile
from actors.sandbox.verdicts import execution, is_starved
from storage.errors import SandboxLost, SandboxUnavailable

caller: ContextVar[str] = ContextVar("caller", default="")
"""On whose behalf the current task asks: slots are shared fairly between callers."""


class BoxSource(Protocol):
    """Where boxes come from."""

    name: str

    async def open(self) -> Box:
        """Start a box. Raises SandboxUnavailable or SandboxLost."""
        ...

    async def reap(self) -> int:
        """Remove what dead owners left; return how much."""
        ...


class Place:
    """Room for one box."""

    def __init__(self) -> None:
        self.box: Box | None = None

    @property
    def coldness(self) -> int:
        """0 where a box is ready."""
        return 0 if self.box is not None and self.box.alive else 1


class Pool:
    """The sandbox protocol over boxes of one source."""

    def __init__(self, settings: SandboxSettings, source: BoxSource) -> None:
        self.settings = settings
        self.source = source
        self._places = [Place() for _ in range(settings.most_sessions)]
        self._idle = list(self._places)
        # Whoever is let in finds a place when its turn comes; nobody waits for a place while it
        # has a turn, so that parked sessions can always go on.
        self._entrance = Turnstile(range(len(self._places)), int)
        self._turns = Turnstile(range(settings.slots), int)
        self._reaper: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Open every slot's box now instead of at its first run."""
        self._watch()
        slots = self._places[: self.settings.slots]
        await asyncio.gather(*(self._box(place) for place in slots))

    async def run(self, request: Request, limits: Limits | None = None) -> Execution:
        """Run one script in a fresh interpreter."""
        limits = limits or self.settings.limits
        frame = run_frame(request, limits, self.settings)
        asked = time.monotonic()
        async with self._slot() as place:
            tried = 0
            while True:
                try:
                    box = await self._box(place)
                    queued = time.monotonic() - asked
                    result = await box.ask(frame, "result", limits.wall_s + GRACE_S)
                    # On a machine that is too busy a deadline says nothing about the code; but
                    # the last word is a verdict, or a program could choose to have none.
                    if is_starved(result) and tried + 1 < self.settings.attempts:
                        tried += 1
                        continue
                    return execution(result, queued, box.id)
                except (SandboxLost, SandboxUnavailable, FrameError) as error:
                    tried += 1
                    await self._drop(place, str(error))
                    if self._closed or tried == self.settings.attempts:
                        raise SandboxUnavailable(f"tried {tried} boxes: {error}") from error

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[Session]:
        """Hold one interpreter; `key` names the solution in messages."""
        asked = time.monotonic()
        room = AsyncExitStack()
        await room.enter_async_context(self._entered())
        held = PoolSession(self, key, time.monotonic() - asked)
        room.push_async_callback(held.close)
        try:
            yield held
        finally:
            # Whoever is cancelled here does not wait, but the next one does: it needs the place.
            await asyncio.shield(room.aclose())

    @asynccontextmanager
    async def _entered(self) -> AsyncIterator[None]:
        self._refuse_if_closed()
        self._watch()
        async with self._entrance.passed(caller.get()):
            yield

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One of `slots`: held while code runs."""
        async with self._turns.passed(caller.get()):
            yield

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[Place]:
        """All that one run needs."""
        async with self._entered(), self._turn():
            place = self._take()
            try:
                yield place
            finally:
                self._idle.append(place)

    def _take(self) -> Place:
        """A place that nobody holds, with a warm box if there is one."""
        place = min(self._idle, key=lambda one: one.coldness)
        self._idle.remove(place)
        return place

    async def _box(self, place: Place) -> Box:
        self._refuse_if_closed()
        if place.box is None or not place.box.alive:
            box = await self.source.open()
            place.box = box
            if self._closed:
                await self._drop(place, "closed")
            self._refuse_if_closed()
            return box
        return place.box

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise SandboxUnavailable("the sandbox is closed")

    async def _drop(self, place: Place, why: str) -> None:
        box = place.box
        if box is not None:
            await box.close(why)
            if place.box is box:  # or somebody has opened another one there meanwhile
                place.box = None

    def _watch(self) -> None:
        if self._reaper is None:
            self._reaper = asyncio.create_task(self._reap_for_ever())

    async def _reap_for_ever(self) -> None:
        while True:
            # An engine that is away for a while is no reason to stop looking.
            with contextlib.suppress(SandboxUnavailable):
                await self.source.reap()
            await asyncio.sleep(self.settings.reaper_period_s)

    async def close(self) -> None:
        """End every run and remove every box. Idempotent."""
        self._closed = True
        if self._reaper is not None:
            self._reaper.cancel()
        await asyncio.gather(*(self._drop(place, "closed") for place in self._places))


class PoolSession:
    """One interpreter, opened by its first block."""

    def __init__(self, pool: Pool, key: str, waited_s: float) -> None:
        self._pool = pool
        self._key = key
        self._waited_s = waited_s
        self._place: Place | None = None
        self._box: Box | None = None
        self._ended = ""
        self._opening = asyncio.Lock()

    async def run(self, code: str, limits: Limits | None = None) -> Execution:
        """Run one block. After SandboxLost the session is of no further use."""
        limits = limits or self._pool.settings.limits
        frame = block_frame(code, limits, self._pool.settings)
        self._refuse_if_ended()
        asked = time.monotonic()
        async with self._pool._turn():
            async with self._opening:
                self._refuse_if_ended()
                box = self._box or await self._open(limits)
            self._refuse_if_ended()
            queued = self._waited_s + time.monotonic() - asked
            self._waited_s = 0.0
            return await self._ask(box, frame, limits, queued)

    def _refuse_if_ended(self) -> None:
        if self._ended:
            raise SessionDead(f"{self._key}: {self._ended}")

    async def _ask(self, box: Box, frame: Frame, limits: Limits, queued: float) -> Execution:
        try:
            answer = await box.ask(frame, "result", "gone", limits.wall_s + GRACE_S)
            if answer.kind == "gone":
                self._ended = "its interpreter ended between two blocks"
                raise SessionDead(f"{self._key}: {self._ended}")
            done = execution(answer, queued, box.id)
            if not answer.flag("alive"):
                self._ended = f"its interpreter ended with verdict {done.verdict}"
        except (SandboxLost, FrameError) as error:
            self._ended = f"its sandbox was lost: {error}"
            if self._place is not None:
                await self._pool._drop(self._place, self._ended)
            raise SandboxLost(f"session {self._key}: {error}") from error
        except asyncio.CancelledError:
            self._ended = "a block was cancelled"
            raise
        return done

    async def _open(self, limits: Limits) -> Box:
        tried = 0
        place = self._place = self._place or self._pool._take()
        while True:
            try:
                box = await self._pool._box(place)
                await box.ask(open_frame(limits, self._pool.settings), "opened", GRACE_S)
            except (SandboxLost, SandboxUnavailable) as error:
                tried += 1
                await self._pool._drop(place, str(error))
                if self._pool._closed or tried == self._pool.settings.attempts:
                    raise SandboxUnavailable(f"session {self._key}: {error}") from error
                self._refuse_if_ended()
            else:
                self._box = box
                return box

    async def close(self) -> None:
        """End the interpreter; its box is clean, or gone, afterwards."""
        self._ended = self._ended or "closed"
        # An opening under way comes to its end first: in a place that is given back it would open
        # a box, or an interpreter, beside the next one's.
        async with self._opening:
            if self._place is None:
                return
            # Of the place, not of this session: one that was cancelled while it opened has none.
            box = self._place.box
            if box is not None and box.alive:
                with contextlib.suppress(SandboxLost):
                    await box.ask(Frame("shut"), "shut", GRACE_S)
            self._pool._idle.append(self._place)
            self._place = None
