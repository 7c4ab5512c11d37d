"""A fair semaphore: callers take turns, and each caller's waiters are served in order.

Invariant: no place is lost, even if a waiter is cancelled at the moment it is served. A caller with
a thousand waiting runs delays another's first run by one turn only.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turnstile:
    """A semaphore with a queue for each caller, served in turn."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """Number of waiters of all callers."""
        return sum(len(queue) for queue in self._waiting.values())

    @asynccontextmanager
    async def passed(self, caller: str = "") -> AsyncIterator[None]:
        """Wait for the caller's turn, then hold a place within this block."""
        await self.enter(caller)
        try:
            yield
        finally:
            self.leave()

    async def enter(self, caller: str = "") -> None:
        """Wait for a place; call `leave` to free it."""
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            else:
                self._forget(caller, turn)
            raise

    def leave(self) -> None:
        """Free a place for the next waiter in turn."""
        while self._waiting:
            caller, queue = next(iter(self._waiting.items()))
            turn = queue.popleft()
            if queue:
                self._waiting.move_to_end(caller)
            else:
                del self._waiting[caller]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _forget(self, caller: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(caller)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._waiting[caller]
