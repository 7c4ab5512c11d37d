"""One output stream of a solution: a pipe that is read up to a cap.

Invariant: never blocks, keeps the first `cap` bytes exactly, and knows whether there were more.
What is kept lies in an arena, which no later solution gets.
"""

from __future__ import annotations

import os
from typing import cast

from .arena import Arena

LARGEST = 16 << 20
"""The largest cap."""
PART = 1 << 16


class Capture:
    """The reading end stays with the supervisor; `inlet` is the solution's."""

    def __init__(self, arena: Arena, at: int) -> None:
        """`at`: where in the arena LARGEST + 1 bytes are its own."""
        self.outlet, self.inlet = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.outlet, False)
        self._arena, self._at = arena, at
        self._size = 0
        self.truncated = False

    @property
    def kept(self) -> bytes:
        """What was kept, as a view of the arena."""
        return cast(bytes, self._arena.view[self._at : self._at + self._size])

    def restart(self) -> None:
        """Begin to keep for the next block."""
        self._size, self.truncated = 0, False

    def pump(self, cap: int) -> bool:
        """Read what is there, at most once; False at the end of the stream."""
        room = cap - self._size
        try:
            came = self._arena.read(self.outlet, self._at + self._size, min(PART, room + 1))
        except BlockingIOError:
            return True
        self._size += min(came, room)
        self.truncated = self.truncated or came > room
        return bool(came)

    def drain(self, cap: int) -> None:
        """Read all that is left, up to the cap."""
        while not self.truncated:
            before = self._size
            if not self.pump(cap) or self._size == before:
                return

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self.outlet)
