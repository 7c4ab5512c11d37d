"""A sandbox with several slots: each run or block takes a slot, and has a box of its own.

Between its blocks a session keeps its box but no slot. So more sessions than slots may be open
(`sessions`); a parked one takes only memory. Boxes open when they are first needed. A run takes a
warm box if there is one.

Invariant: a lost box is replaced and its run tried again, at most `attempts` times. A block of a
session is never tried again, because its variables are lost with the box. Code with which every box
ends, while other code runs, has the verdict `killed`. When `close` returns, no
box is left. A cancelled run frees its slot. A box has one owner: a session gives it back only when
no call of the session to the box is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

from actors.sandbox.box import GRACE_S, Box, BoxEnded
from actors.sandbox.contract import (
    Execution,
    Limits,
    Request,
    SandboxSettings,
    Session,
    SessionDead,
    Verdict,
)
from actors.sandbox.guest.frames import Frame, FrameError
from actors.sandbox.parked import Parked, Share
from actors.sandbox.turnstile import Turnstile
from actors.sandbox.wire import (
    block_frame,
    convicted,
    execution,
    held_kb,
    is_starved,
    open_frame,
    run_frame,
)
from storage.errors import SandboxLost, SandboxUnavailable

Used = TypeVar("Used")

caller: ContextVar[str] = ContextVar("caller", default="")
"""Caller of the current task. Slots are shared fairly between callers."""


class BoxSource(Protocol):
    """Opens boxes of one backend, and removes those of dead owners."""

    name: str

    async def open(self) -> Box:
        """Start a box. Raises SandboxUnavailable or SandboxLost."""
        ...

    async def reap(self) -> int:
        """Remove what dead owners left; return how much."""
        ...


class Pool:
    """A sandbox over boxes of one source."""

    def __init__(self, settings: SandboxSettings, source: BoxSource) -> None:
        self.settings = settings
        self.source = source
        # A run or session that is let in has room for a box. None waits for room while it holds a
        # slot, so that parked sessions can always go on.
        self._entrance = Turnstile(settings.most_sessions)
        self._turns = Turnstile(settings.slots)
        self._boxes: set[Box] = set()
        """Boxes that are not gone yet."""
        self._idle: list[Box] = []
        """Open boxes without an owner."""
        self._parked = Parked(settings.parked_mb, settings.slots)
        self._reaper: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Open every slot's box now instead of at its first run."""
        self._watch()

        async def warm() -> None:
            self.give_back(await self.box())

        await asyncio.gather(*(warm() for _ in range(self.settings.slots)))

    async def run(self, request: Request, limits: Limits | None = None) -> Execution:
        """Run one script in a fresh interpreter."""
        limits = limits or self.settings.limits
        frame = run_frame(request, limits, self.settings)
        begun = time.monotonic()
        held: Box | None = None
        starved = ended = 0
        queued = 0.0

        async def run_in(box: Box) -> Execution:
            nonlocal held, starved, ended, queued
            held = box
            queued = time.monotonic() - begun
            while True:
                try:
                    result = await box.ask(frame, "result", limits.wall_s + GRACE_S)
                except BoxEnded:
                    ended += 1
                    raise
                # On a machine that is too busy a deadline says nothing about the code; but the
                # last word is a verdict, or a program could choose to have none.
                starved += 1
                if not is_starved(result) or starved == self.settings.attempts:
                    return execution(result, queued, box.id, box.backend)

        async with self._entered(), self.turn():
            try:
                return await self.in_a_box(run_in)
            except SandboxUnavailable:
                if held is None or ended < self.settings.attempts or not await self.is_well():
                    raise
                return convicted(ended, queued, held)
            finally:
                self.give_back(held)

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[Session]:
        """Hold one interpreter; `key` names the solution in messages."""
        begun = time.monotonic()
        room = AsyncExitStack()
        try:
            await room.enter_async_context(self._entered())
            share = await room.enter_async_context(self._parked.share())
            held = PoolSession(self, key, share, time.monotonic() - begun)
            room.push_async_callback(held.close)
            yield held
        finally:
            # A cancelled caller does not wait for this, but its place is freed only afterwards.
            await asyncio.shield(room.aclose())

    @asynccontextmanager
    async def _entered(self) -> AsyncIterator[None]:
        self._refuse_if_closed()
        self._watch()
        async with self._entrance.passed(caller.get()):
            yield

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold one of the `slots` while code runs."""
        async with self._turns.passed(caller.get()):
            yield

    async def in_a_box(self, use: Callable[[Box], Awaitable[Used]]) -> Used:
        """Run `use` with a free box, and with another one if that is lost; return its result.

        The caller gives the box back. Raises SandboxUnavailable after the last try.
        """
        tried = 0
        while True:
            box = None
            try:
                box = await self.box()
                return await use(box)
            except (SandboxLost, SandboxUnavailable, FrameError) as error:
                tried += 1
                if box is not None:
                    await box.close(str(error))
                if self._closed or tried == self.settings.attempts:
                    raise SandboxUnavailable(f"tried {tried} boxes: {error}") from error

    async def box(self) -> Box:
        """Take a free box, a warm one if there is one."""
        self._refuse_if_closed()
        while self._idle:
            if (warm := self._idle.pop()).alive:
                return warm
        box = await self.source.open()
        self._boxes.add(box)
        box.when_gone(lambda: self._boxes.discard(box))
        if self._closed:
            await box.close("closed")
        self._refuse_if_closed()
        return box

    async def is_well(self) -> bool:
        """Whether a box runs code that does nothing."""
        limits = self.settings.limits
        with contextlib.suppress(SandboxLost, SandboxUnavailable, FrameError):
            box = await self.box()
            frame = run_frame(Request("pass"), limits, self.settings)
            result = await box.ask(frame, "result", limits.wall_s + GRACE_S)
            self.give_back(box)
            return execution(result, 0.0, box.id).verdict is Verdict.OK
        return False

    def give_back(self, box: Box | None) -> None:
        """Take back a box that is clean; a lost one goes by itself."""
        if box is not None and box.alive:
            self._idle.append(box)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise SandboxUnavailable("the sandbox is closed")

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
        await asyncio.gather(*(box.close("closed") for box in list(self._boxes)))


class PoolSession:
    """A session: one interpreter, which the first block opens."""

    def __init__(self, pool: Pool, key: str, share: Share, waited_s: float) -> None:
        self._pool = pool
        self._share = share
        self._key = key
        self._waited_s = waited_s
        self._box: Box | None = None
        self._blocks: list[Frame] = []
        """The blocks that it was given."""
        self._open = False
        """Whether the box holds the session's interpreter."""
        self._ended = ""
        self._opening = asyncio.Lock()

    async def run(self, code: str, limits: Limits | None = None) -> Execution:
        """Run one block. After SandboxLost the session can't be used again."""
        limits = limits or self._pool.settings.limits
        frame = block_frame(code, limits, self._pool.settings)
        self._refuse_if_ended()
        begun = time.monotonic()
        async with self._pool.turn():
            async with self._opening:
                self._refuse_if_ended()
                box = self._box if self._box and self._open else await self._opened(limits)
            self._refuse_if_ended()
            queued = self._waited_s + time.monotonic() - begun
            self._waited_s = 0.0
            return await self._ask(box, frame, limits, queued)

    def _refuse_if_ended(self) -> None:
        if self._ended:
            raise SessionDead(f"{self._key}: {self._ended}")

    async def _ask(self, box: Box, frame: Frame, limits: Limits, queued: float) -> Execution:
        self._blocks.append(frame)
        try:
            answer = await box.ask(frame, "result", "gone", limits.wall_s + GRACE_S)
            if answer.kind == "gone":
                self._ended = "its interpreter ended between two blocks"
                raise SessionDead(f"{self._key}: {self._ended}")
            done = execution(answer, queued, box.id, box.backend)
            self._share.kb = held_kb(answer)
            if not answer.flag("alive"):
                self._ended = f"its interpreter ended with verdict {done.verdict}"
        except (SandboxLost, FrameError) as error:
            self._ended = f"its sandbox was lost: {error}"
            await box.close(self._ended)
            if isinstance(error, BoxEnded) and await self._ends_every_box(limits):
                return convicted(self._pool.settings.attempts, queued, box)
            raise SandboxLost(f"session {self._key}: {error}") from error
        except asyncio.CancelledError:
            self._ended = "a block was cancelled"
            raise
        return done

    async def _ends_every_box(self, limits: Limits) -> bool:
        """Whether further boxes end with the session's blocks, too, while other code runs.

        What the blocks print this time is of no use: it may differ from what was read before.
        """
        for _ in range(self._pool.settings.attempts - 1):
            try:
                box = await self._pool.box()
            except (SandboxLost, SandboxUnavailable, FrameError):
                return False
            try:
                await box.ask(open_frame(limits, self._pool.settings), "opened", GRACE_S)
                for frame in self._blocks:
                    await box.ask(frame, "result", "gone", frame.number("wall_s") + GRACE_S)
                return False
            except BoxEnded:
                continue
            except (SandboxLost, FrameError):
                return False
            finally:
                await box.close("its blocks were run again")
        return await self._pool.is_well()

    async def _opened(self, limits: Limits) -> Box:
        """A box with an interpreter of its own."""

        async def opened(box: Box) -> Box:
            self._box = box
            self._refuse_if_ended()
            await box.ask(open_frame(limits, self._pool.settings), "opened", GRACE_S)
            self._open = True
            return box

        try:
            return await self._pool.in_a_box(opened)
        except asyncio.CancelledError:
            self._ended = "it was cancelled while it opened"
            raise
        except SandboxUnavailable as error:
            raise SandboxUnavailable(f"session {self._key}: {error}") from error

    async def close(self) -> None:
        """End the interpreter. Its box is then clean, or gone."""
        self._ended = self._ended or "closed"
        # An opening under way comes to its end first: in a box that is given back it would open an
        # interpreter beside the next one's.
        async with self._opening:
            if self._box is not None and self._box.alive:
                with contextlib.suppress(SandboxLost):
                    await self._box.ask(Frame("shut"), "shut", GRACE_S)
                self._pool.give_back(self._box)
            self._box = None
