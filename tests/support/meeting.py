"""Workers of a training as threads of one process, whose exchanges give up soon."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from actors.training.events import Place

PATIENCE_S = 30.0
"""How long an exchange lasts before its process group gives up."""


class Group:
    """Exchanges between threads, as a process group's: whoever is not met in time ends all."""

    def __init__(self, workers: int) -> None:
        self._barrier = threading.Barrier(workers, timeout=PATIENCE_S)
        self._said: list[Any] = [None] * workers
        self.met = 0
        self.often = threading.Event()

    def gathered(self, place: Place, mine: Any) -> list[Any]:
        self._said[place.rank] = mine
        self._barrier.wait()
        found = list(self._said)
        if self._barrier.wait() == 0:
            self.met += 1
            if self.met >= 5:
                self.often.set()
        return found


def two(work: Callable[[Place], Any]) -> list[Any]:
    places = [Place(rank, 2, rank, 2) for rank in range(2)]
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(work, places))
