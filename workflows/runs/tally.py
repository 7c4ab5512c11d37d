"""Counts what a driver begins, commits and loses."""

from __future__ import annotations

from collections import Counter

from storage.runs.work import Work
from workflows.schedule.events import Happened


class Tally:
    """The work of one driver, from its events. One thread counts, others may read."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()
        self._under_way: set[tuple[str, int]] = set()
        self._committed: Counter[str] = Counter()
        self._failed = self._lost_workers = 0

    def happened(self, event: Happened) -> None:
        """Count an event."""
        task = event.task
        match event.what:
            case "started" if task is not None:
                self._begun[task.stage] += 1
                self._under_way.add((task.stage, task.shard))
            case "committed" if task is not None:
                self._committed[task.stage] += 1
                self._under_way.discard((task.stage, task.shard))
            case "failed":
                self._failed += 1
            case "lost":
                self._lost_workers += 1
            case _:
                pass

    @property
    def work(self) -> Work:
        """The work so far. A shard that was lost and waits for its next try counts as under way."""
        under_way = Counter(stage for stage, _ in tuple(self._under_way))
        return Work(
            dict(self._begun), dict(under_way), dict(self._committed),
            self._failed, self._lost_workers,
        )  # fmt: skip
