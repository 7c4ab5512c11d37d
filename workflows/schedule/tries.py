"""Which tries of shards run, on which workers, and which two are twins.

Invariant: at most two tries of a (stage, shard) can still commit it, and they are each other's
twin. An overtaken try is kept until it ends or its worker is gone.
"""

from __future__ import annotations

from workflows.schedule.crews import Worker
from workflows.schedule.queues import Task


class Tries:
    """The tries that were started and are still running."""

    def __init__(self) -> None:
        self._where: dict[Task, Worker] = {}
        """Try that can still commit -> its worker."""
        self._pairs: dict[Task, Task] = {}
        """Try -> its twin, in both directions."""
        self._overtaken: dict[Task, Worker] = {}
        """Try that lost to its twin and still runs -> its worker, which may hang too."""

    def start(self, task: Task, worker: Worker) -> None:
        """A worker starts a try."""
        self._where[task] = worker

    def pair(self, late: Task, twin: Task) -> None:
        """Record two tries of a shard as twins."""
        self._pairs[late], self._pairs[twin] = twin, late

    def owner(self, task: Task) -> Worker | None:
        """The worker of a try that can still commit."""
        return self._where.get(task)

    def holder(self, task: Task) -> Worker | None:
        """The worker of a running try, overtaken or not."""
        return self._where.get(task) or self._overtaken.get(task)

    def twin(self, task: Task) -> Task | None:
        """The twin of a try that can still commit."""
        return self._pairs.get(task)

    def end(self, task: Task) -> bool:
        """The try can commit no more. True if its twin still can."""
        self._where.pop(task, None)
        twin = self._pairs.pop(task, None)
        if twin is None:
            return False
        del self._pairs[twin]
        return True

    def overtake(self, twin: Task) -> Worker | None:
        """A try lost to its twin. Returns the worker that still runs it."""
        slower = self._where.pop(twin, None)
        if slower is not None:
            self._overtaken[twin] = slower
        return slower

    def overtaken_on(self, worker: Worker) -> list[Task]:
        """The overtaken tries on a worker."""
        return [task for task, owner in self._overtaken.items() if owner is worker]

    def forget(self, task: Task) -> bool:
        """An overtaken try ended. False if the try is unknown."""
        return self._overtaken.pop(task, None) is not None
