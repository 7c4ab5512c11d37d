"""One output stream of a solution: a pipe that is read up to a cap.

Invariant: never blocks, keeps the first `cap` bytes exactly, and knows whether there were more.
"""

from __future__ import annotations

import os


class Capture:
    """The reading end stays with the supervisor; `inlet` is the solution's."""

    def __init__(self) -> None:
        self.outlet, self.inlet = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.outlet, False)
        self.kept = bytearray()
        self.truncated = False

    def restart(self) -> None:
        """Begin to keep for the next block."""
        self.kept, self.truncated = bytearray(), False

    def pump(self, cap: int) -> bool:
        """Read what is there, at most once; False at the end of the stream."""
        try:
            data = os.read(self.outlet, 1 << 16)
        except BlockingIOError:
            return True
        room = cap - len(self.kept)
        self.kept += data[:room]
        self.truncated = self.truncated or len(data) > room
        return bool(data)

    def drain(self, cap: int) -> None:
        """Read all that is left, up to the cap."""
        while not self.truncated:
            before = len(self.kept)
            if not self.pump(cap) or len(self.kept) == before:
                return

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self.outlet)
