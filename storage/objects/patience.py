"""A retry budget: bounded tries with growing, jittered pauses.

Invariant: the tries end. The caller decides what a failure means.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


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


PATIENT = Patience()
"""Outlasts a store that is down for a minute; gives up within about two."""
