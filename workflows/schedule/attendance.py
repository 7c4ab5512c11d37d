"""Which workers of a role are up, and how long a slot rests after a worker failed to start on it.

Invariant: failed starts end a run only if no worker of the role is up or can still come up.
"""

from __future__ import annotations

import asyncio

OPEN_TRIES = 3
"""Failed starts in a row, with no worker of the role up, that end the run."""
LONGEST_PAUSE_S = 600.0
"""Longest rest of a slot between two starts."""


class Attendance:
    """The workers of a role that are up or `coming`, and the rest of a slot after a failed start.

    The slot rests while other workers are up or can still come up, so a defective GPU costs only
    itself. Without other workers the next start is at once.
    """

    def __init__(self, pause: float) -> None:
        """`pause`: seconds of the first rest; each further rest is three times as long."""
        self._pause = pause
        self._up: set[int] = set()
        self.coming: set[int] = set()
        self._hopes: set[int] = set()
        """Workers that were coming at the first failure of a row and can still come up."""
        self._failed, self._rounds, self._round_ends = 0, 0, -1
        """Failures in a row, and their rounds: workers that started together share a round."""
        self.nobody = asyncio.Event()
        """Set while no worker is up or can still come up."""

    def came(self, worker: int) -> None:
        """The worker is up; ignored if it was closed meanwhile."""
        if worker in self.coming:
            self.coming.remove(worker)
            self._hopes.clear()
            self._up.add(worker)
            self._failed = self._rounds = 0
            self.nobody.clear()

    def failed(self, worker: int, hopeless: bool = False) -> float | None:
        """The worker failed to start. Returns the seconds that its slot rests, None to give up.

        `hopeless`: give up at the first failure if no other worker is up.
        """
        if worker not in self.coming:
            return 0.0  # closed meanwhile
        if not self._failed:
            self._hopes = set(self.coming)
            self.nobody.clear()
        if worker > self._round_ends:
            self._rounds, self._round_ends = self._rounds + 1, max(self.coming)
        self._failed += 1
        self.went(worker)
        if self.nobody.is_set():
            return None if hopeless or self._failed >= OPEN_TRIES else 0.0
        return min(LONGEST_PAUSE_S, self._pause * 3.0 ** min(self._rounds - 1, 100))

    def went(self, worker: int) -> None:
        """The worker was closed or lost."""
        self.coming.discard(worker)
        self._hopes.discard(worker)
        if self._up == {worker}:
            self._failed = 0  # the model works, since this worker was up
        self._up.discard(worker)
        if not (self._up or self._hopes):
            self.nobody.set()
