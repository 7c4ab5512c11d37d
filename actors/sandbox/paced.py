"""Paces a sandbox's sessions by the engine: only as many are open as keep its places busy.

A solution keeps its session while the model writes on. While its code runs, its place in the engine
is free. As many sessions as places may always open. One more opens each time that the engine has a
free place and no waiting request. A session above that number is not replaced when it ends. So the
sessions, and the memory of their boxes, follow the code's share of the time. The sandbox behind
this one sets the upper bound.

Invariant: the oldest waiting work goes first. An open session never waits for one that waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from heapq import heappop, heappush
from itertools import count

from actors.engines.admission import Work, work
from actors.sandbox.contract import Execution, Limits, Request, Sandbox, Session


class PacedSandbox:
    """A sandbox that paces the sessions of another one."""

    def __init__(self, sandbox: Sandbox, least: int) -> None:
        """`least`: sessions that open at once: the number of the engine's places."""
        self._sandbox = sandbox
        self._least = least
        self._came = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        """A heap of (begin of the work, arrival, future); a cancelled one stays until its turn."""
        self.open = 0

    async def run(self, request: Request, limits: Limits | None = None) -> Execution:
        """As the sandbox does."""
        return await self._sandbox.run(request, limits)

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[Session]:
        """Wait for the turn, then hold one interpreter."""
        own = work.get() or Work()
        own.queue.when_free.add(self._let_one_in)
        async with AsyncExitStack() as held:
            own.queue.parked += 1
            try:
                await self._turn(own)
                held.callback(self._leave)
                session = await held.enter_async_context(self._sandbox.session(key))
            finally:
                own.queue.parked -= 1
            yield session

    async def close(self) -> None:
        """As the sandbox does."""
        await self._sandbox.close()

    async def _turn(self, own: Work) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (own.begun, next(self._came), turn))
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # let in and cancelled in the same tick
            raise

    def _leave(self) -> None:
        self.open -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self.open < self._least:
            self._let_one_in()

    def _let_one_in(self) -> None:
        while self._waiting:
            turn = heappop(self._waiting)[2]
            if not turn.done():
                self.open += 1
                turn.set_result(None)
                return
