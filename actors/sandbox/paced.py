"""A sandbox whose sessions follow the engine: no more are open than keep its places at work.

A solution keeps its session while the model writes on, and its place in the engine stands empty
while its code runs. As many sessions as places are always let through; one more goes through each
time that the engine has a free place for which nothing waits. What ends above that is not
replaced, so that sessions, and the memory of their boxes, grow and shrink with the code's share of
the time; the sandbox behind has the last word on how many there can be.

Invariant: of those that wait the oldest work goes first; a session never waits for one that waits.
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
    """Use it in front of a sandbox."""

    def __init__(self, sandbox: Sandbox, least: int) -> None:
        """`least`: sessions that never wait for the engine, as many as it has places."""
        self._sandbox = sandbox
        self._least = least
        self._came = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        """A heap: when the work was begun, when it came; whoever was cancelled stays until next."""
        self.open = 0

    async def run(self, request: Request, limits: Limits | None = None) -> Execution:
        """As the sandbox does."""
        return await self._sandbox.run(request, limits)

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[Session]:
        """Hold one interpreter, once it is its turn."""
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
