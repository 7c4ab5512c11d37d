"""A retry budget: bounded tries with growing, jittered pauses.

Invariant: the tries end. The caller decides what a failure means.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

LOG = logging.getLogger("stepmill.store")
SOON_S = 0.5
"""Seconds of trouble before a word of it."""
SAID_EVERY_S = 20.0
_SAID: dict[str, float] = {}
_LOCK = threading.Lock()


def jitter() -> float:
    """`random.random`, pickled by name. Pickled itself it would carry one state to all workers."""
    return random.random()


@dataclass(frozen=True, slots=True)
class Patience:
    """A retry budget."""

    tries: int = 14
    first_s: float = 0.1
    """Longest pause before the second try; doubled before each later one."""
    longest_s: float = 20.0
    deadline_s: float = 120.0
    """No try begins later than this, so that slow tries do not add up to hours."""
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    random: Callable[[], float] = field(default=jitter, repr=False)
    """Jitter: clients that failed together retry at different times."""

    def attempts(self) -> Iterator[int]:
        """Yield 0, 1, ... with a pause before each later try, until the budget is used up."""
        start = self.clock()
        for number in range(self.tries):
            if number:
                longest = min(self.longest_s, self.first_s * 2 ** (number - 1))
                self.sleep(longest * (0.5 + 0.5 * self.random()))
                if self.clock() - start > self.deadline_s:
                    return
            yield number

    def still_trying(self, began: float, trouble: object) -> None:
        """Warn before another try, once `SOON_S` have passed since `began` by its clock.

        Requests that fail together, and later ones, are one line in 20 seconds.
        """
        now = time.monotonic()
        if self.clock() - began < SOON_S:
            return
        with _LOCK:
            if now - _SAID.get("last", -SAID_EVERY_S) < SAID_EVERY_S:
                return
            _SAID["last"] = now
        LOG.warning("%s; trying again for up to %.0f seconds", trouble, self.deadline_s)


PATIENT = Patience()
"""Outlasts a store that is down for a minute; gives up within about two."""
