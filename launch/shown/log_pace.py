"""When a log gets its next line of progress: soon at first, then less and less often.

Whoever looks at a log sees that it moves; one of days stays readable.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST_SECONDS = 5.0
GROWTH = 1.5
LONGEST_SECONDS = 300.0


class LogPace:
    """The first line is due at once, the next after FIRST_SECONDS, each later one after GROWTH
    times as long, at most LONGEST_SECONDS; a line is due only where its state is another one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock()
        self._pause = FIRST_SECONDS
        self._shown: object = None

    def is_due(self, state: object, last: bool = False) -> bool:
        """Whether to print a line for this state now; True takes it for printed.

        The `last` state is due whenever it was not shown.
        """
        now = self._clock()
        if state == self._shown or (now < self._next and not last):
            return False
        self._shown = state
        self._next = now + self._pause
        self._pause = min(GROWTH * self._pause, LONGEST_SECONDS)
        return True
