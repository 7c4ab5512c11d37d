"""How many sequences a server is given at once: fewer while it says that it has too many.

As TCP does: twice as many after each round without trouble until the first trouble, half as many
after it, and then an eighth more each round.

Invariant: `allowed` stays between 1 and `most`; requests that were in flight together halve it
once.
"""

from __future__ import annotations

GROWTH = 8
"""After the first trouble a round adds one part in so many."""


class Pace:
    """A number in flight that follows what the server says."""

    def __init__(self, most: int, start: int | None = None) -> None:
        self.most = most
        self.allowed = min(start or most, most)
        self._sent = 0
        self._cut_at = 0
        """Number of requests that were sent when it was last halved."""
        self._fine = 0
        """Answers since it last grew or was halved."""
        self._troubled = False

    def begin(self) -> int:
        """A request is sent; its number."""
        self._sent += 1
        return self._sent

    def answered(self) -> None:
        """The server answered a request."""
        self._fine += 1
        if self._fine >= self.allowed:
            self._fine = 0
            more = max(1, self.allowed // GROWTH) if self._troubled else self.allowed
            self.allowed = min(self.most, self.allowed + more)

    def crowded(self, request: int) -> None:
        """The server had too much to do for a request of this number."""
        self._troubled = True
        if request > self._cut_at:
            self._cut_at, self._fine = self._sent, 0
            self.allowed = max(1, self.allowed // 2)
