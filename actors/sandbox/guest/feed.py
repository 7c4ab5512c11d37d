"""What a script reads from its standard input."""

from __future__ import annotations

import os
import socket


class Feed:
    """A script's stdin: a pipe that is filled as the script reads. A pipe can't be executed."""

    def __init__(self, data: memoryview | bytes) -> None:
        self._inlet, self.outlet = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.outlet, False)
        self._rest = memoryview(data)
        self._open = True

    def hand_over(self, channel: socket.socket, data: bytes) -> int:
        """Send the reading end along with `data`; return how much of that was sent."""
        try:
            return socket.send_fds(channel, [data], [self._inlet])
        finally:
            os.close(self._inlet)

    def pump(self) -> bool:
        """Write what there is room for; False when all is written, or nobody reads."""
        try:
            self._rest = self._rest[os.write(self.outlet, self._rest[: 1 << 16]) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return bool(self._rest)

    def close(self) -> None:
        """End the script's stdin. Idempotent."""
        if self._open:
            self._open = False
            os.close(self.outlet)
