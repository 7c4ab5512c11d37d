"""Which workers of a role are up, and how long a slot is left alone on which one did not come up.

Invariant: a run is given up for workers that do not come up only where nobody of their role is up,
or may yet come up.
"""

from __future__ import annotations

import asyncio

OPEN_TRIES = 3
"""Workers of a role that may fail to come up, one after the other, with nobody up."""
LONGEST_PAUSE_S = 600.0
"""Until a slot on which nobody comes up is tried again."""


class Attendance:
    """Who of one role is up or `coming`, and how long to wait when one does not come up.

    Its slot is left alone while others are up, or may yet come up: a defective GPU costs nothing
    but that GPU. Where there is nobody else nothing waits.
    """

    def __init__(self, pause: float) -> None:
        """`pause`: seconds of the first wait; each one is three times as long as the one before."""
        self._pause = pause
        self._up: set[int] = set()
        self.coming: set[int] = set()
        self._hopes: set[int] = set()
        """Those that were coming when the first of a row failed: a healthy one takes its time."""
        self._failed, self._rounds, self._round_ends = 0, 0, -1
        """Failures in a row; those of workers that were coming together are one round."""
        self.nobody = asyncio.Event()
        """Set while nobody is up or may yet come up."""

    def came(self, worker: int) -> None:
        """It is up, unless it was told to go before."""
        if worker in self.coming:
            self.coming.remove(worker)
            self._hopes.clear()
            self._up.add(worker)
            self._failed = self._rounds = 0
            self.nobody.clear()

    def failed(self, worker: int, hopeless: bool = False) -> float | None:
        """It did not come up: seconds to leave its slot alone; None: that was once too often.

        `hopeless`: where nobody else is up, once is too often.
        """
        if worker not in self.coming:
            return 0.0  # it was told to go
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
        """It was told to go, or was lost."""
        self.coming.discard(worker)
        self._hopes.discard(worker)
        if self._up == {worker}:
            self._failed = 0  # what failed beside it says nothing about the model
        self._up.discard(worker)
        if not (self._up or self._hopes):
            self.nobody.set()
