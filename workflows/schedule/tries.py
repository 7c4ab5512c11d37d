"""Which tries of shards are under way, on which workers, and which two are twins.

Invariant: of a shard of a stage at most two tries can still win, and those are each other's twin;
one that lost is known until its worker gives the place back, or is gone.
"""

from __future__ import annotations

from workflows.schedule.crews import Worker
from workflows.schedule.queues import Task


class Tries:
    """The book of what was started."""

    def __init__(self) -> None:
        self._where: dict[Task, Worker] = {}
        """Every try that can still win."""
        self._pairs: dict[Task, Task] = {}
        """A try and its twin, both ways."""
        self._overtaken: dict[Task, Worker] = {}
        """Tries that lost to their twin and still take up a place: their worker may hang, too."""

    def start(self, task: Task, worker: Worker) -> None:
        """The worker begins."""
        self._where[task] = worker

    def pair(self, late: Task, twin: Task) -> None:
        """Two tries of one shard."""
        self._pairs[late], self._pairs[twin] = twin, late

    def owner(self, task: Task) -> Worker | None:
        """Who works on a try that can still win."""
        return self._where.get(task)

    def holder(self, task: Task) -> Worker | None:
        """Who works on a try, whether it can win or not."""
        return self._where.get(task) or self._overtaken.get(task)

    def twin(self, task: Task) -> Task | None:
        """The other try of the same shard that can still win."""
        return self._pairs.get(task)

    def end(self, task: Task) -> bool:
        """The try can't win any more; True where its twin still can."""
        self._where.pop(task, None)
        twin = self._pairs.pop(task, None)
        if twin is None:
            return False
        del self._pairs[twin]
        return True

    def overtake(self, twin: Task) -> Worker | None:
        """A try lost to its twin; returns who works on it still."""
        slower = self._where.pop(twin, None)
        if slower is not None:
            self._overtaken[twin] = slower
        return slower

    def overtaken_on(self, worker: Worker) -> list[Task]:
        """The tries on a worker that lost."""
        return [task for task, owner in self._overtaken.items() if owner is worker]

    def forget(self, task: Task) -> bool:
        """A try that lost is over; False where it was not known as such."""
        return self._overtaken.pop(task, None) is not None
