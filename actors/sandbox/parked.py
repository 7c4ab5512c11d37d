"""Bounds the memory that a sandbox's open sessions hold while the model writes on.

Invariant: an open session goes on whatever the others hold. A new one waits while those that are
open hold the most memory, but `least` of them are open at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

BOX_KB = 64 << 10
"""Of a box itself."""


@dataclass(eq=False, slots=True)
class Share:
    """What one open session holds."""

    kb: int = 0


class Parked:
    """The shares of all open sessions."""

    def __init__(self, most_mb: int, least: int) -> None:
        """`most_mb`: of memory; 0: no bound. `least`: sessions that open whatever is held."""
        self._most_kb = most_mb << 10
        self._least = least
        self._shares: set[Share] = set()
        self._closed = asyncio.Condition()

    @asynccontextmanager
    async def share(self) -> AsyncIterator[Share]:
        """Wait for room, then hold a share of it."""
        async with self._closed:
            await self._closed.wait_for(self._has_room)
            mine = Share()
            self._shares.add(mine)
        try:
            yield mine
        finally:
            self._shares.discard(mine)
            async with self._closed:
                self._closed.notify_all()

    def _has_room(self) -> bool:
        held = sum(BOX_KB + share.kb for share in self._shares) + BOX_KB
        return len(self._shares) < self._least or not self._most_kb or held <= self._most_kb
