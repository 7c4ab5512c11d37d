"""Lines of progress in a log: how one looks, and when the next is due.

They come soon at first, then less and less often. A reader sees early that the work moves, and the
log of a run of days stays readable.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console

FIRST_SECONDS = 5.0
GROWTH = 1.5
LONGEST_SECONDS = 300.0


def print_line(console: Console, name: str, text: str) -> None:
    """Print one line of what is named, with the time, unwrapped; above a live display."""
    line = f"{time.strftime('%H:%M:%S')} [{name}] {text}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)


class LogPace:
    """The first line is due at once, the second after FIRST_SECONDS.

    Each later pause is GROWTH times as long, at most LONGEST_SECONDS. A line whose state was shown
    before is not due.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock()
        self._pause = FIRST_SECONDS
        self._shown: object = None

    def is_due(self, state: object, last: bool = False) -> bool:
        """Whether to print a line for this state now; after True it counts as printed.

        A `last` state that was not shown yet is always due.
        """
        now = self._clock()
        if state == self._shown or (now < self._next and not last):
            return False
        self._shown = state
        self._next = now + self._pause
        self._pause = min(GROWTH * self._pause, LONGEST_SECONDS)
        return True
