"""Who gets the next free slot: first come first served, and callers take turns.

Invariant: a slot is held by one holder at a time and is never lost, not even when a waiter is
cancelled at the moment it is served; a caller with a thousand waiting runs delays another's first
run by one turn only.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

Slot = TypeVar("Slot")


class Turnstile(Generic[Slot]):
    """A fair queue for a fixed set of slots."""

    def __init__(self, slots: Iterable[Slot], preference: Callable[[Slot], int]) -> None:
        """Of several free slots the one with the lowest preference is handed out."""
        self._free = list(slots)
        self._preference = preference
        self._waiting: OrderedDict[str, deque[asyncio.Future[Slot]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(len(queue) for queue in self._waiting.values())

    async def enter(self, caller: str = "") -> Slot:
        """Wait for a slot. The holder must `leave` with it."""
        if self._free and not self._waiting:
            slot = min(self._free, key=self._preference)
            self._free.remove(slot)
            return slot
        place: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave(place.result())
            else:
                self._forget(caller, place)
            raise

    @asynccontextmanager
    async def passed(self, caller: str = "") -> AsyncIterator[Slot]:
        """Hold a slot for the length of a block."""
        slot = await self.enter(caller)
        try:
            yield slot
        finally:
            self.leave(slot)

    def leave(self, slot: Slot) -> None:
        """Give a slot back; the next in turn gets it."""
        while self._waiting:
            caller, queue = next(iter(self._waiting.items()))
            place = queue.popleft()
            if queue:
                self._waiting.move_to_end(caller)
            else:
                del self._waiting[caller]
            if not place.done():
                place.set_result(slot)
                return
        self._free.append(slot)

    def _forget(self, caller: str, place: asyncio.Future[Slot]) -> None:
        queue = self._waiting.get(caller)
        if queue is not None and place in queue:
            queue.remove(place)
            if not queue:
                del self._waiting[caller]
