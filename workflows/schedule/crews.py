"""The workers of a role, sorted by their load: which of them can take a shard, and how many.

A worker has `parallel` shards in flight. It has one more each time that it says that nothing waits
for its engine, up to `most_parallel`; what ends above `parallel` is not replaced. So it has no more
than its engine needs: few where a shard fills it, many where rounds wait for their last sample.

Invariant: a worker is in at most one bucket, that of its load; every question costs the same
whatever the number of workers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from workflows.schedule.nodes import ANYWHERE, RolePlan
from workflows.schedule.queues import Task


class Open(NamedTuple):
    """Start a worker of `role`."""

    role: str
    worker: int
    node: str = ANYWHERE
    """Where there is room for it."""


class Close(NamedTuple):
    """Stop a worker: idle, hung, or never come up."""

    worker: int


class Run(NamedTuple):
    """Give `task` to `worker`."""

    worker: int
    task: Task


Action = Open | Close | Run


@dataclass(slots=True)
class Worker:
    """One worker, as the schedule knows it."""

    number: int
    role: str
    node: str = ANYWHERE
    placed: bool = False
    """Whether it stands on its node; before, it may still wait for room there."""
    heard: float = 0.0
    """When it last answered."""
    ready: bool = False
    closing: bool = False
    leaving: bool = False
    """Takes nothing new and is closed when it is idle."""
    alone: bool = False
    """Has, or waits for, a shard that must be alone."""
    running: set[Task] = field(default_factory=set)
    overtaken: int = 0
    """Tries that still run here although a twin has committed the shard."""
    hungry: bool = False
    """Since its last shard nothing waited for its engine: it may take one more than anyway."""

    @property
    def load(self) -> int:
        """Tries that run on it."""
        return len(self.running) + self.overtaken


class Crew:
    """The workers of one role, sorted by their load."""

    def __init__(self, plan: RolePlan) -> None:
        self.plan = plan
        self.size = 0
        """Workers that are up or coming; those that leave are not counted."""
        self.opening = 0
        self.begun = False
        """Whether a worker was ever opened."""
        self.not_before = 0.0
        """No worker is opened earlier: the last one did not come up."""
        self.clearing: Worker | None = None
        """A worker that gets no other work, for a shard that must be alone."""
        self._free: list[OrderedDict[int, Worker]] = [OrderedDict() for _ in range(plan.limit)]

    def freest(self, but: int = -1) -> Worker | None:
        """The worker with the least load that can take a shard, other than `but`."""
        return self._freest(self._free[: self.plan.parallel], but)

    def hungriest(self) -> Worker | None:
        """The worker with the least load of those that can take a shard more since their engine's
        queue is empty.
        """
        return self._freest(self._free[self.plan.parallel :])

    @staticmethod
    def _freest(buckets: Iterable[Mapping[int, Worker]], but: int = -1) -> Worker | None:
        for bucket in buckets:
            for number, worker in bucket.items():
                if number != but:
                    return worker
        return None

    def idle(self) -> Worker | None:
        """A worker that has nothing to do."""
        return next(iter(self._free[0].values()), None)

    def clear(self) -> Worker | None:
        """A worker without any other work; where there is none, the freest is kept clear."""
        if self.clearing is None:
            if (idle := self.idle()) is not None:
                return idle
            if (busy := self.freest() or self.hungriest()) is not None:
                self.leave(busy)
                busy.alone, self.clearing = True, busy
            return None
        if self.clearing.load:
            return None
        worker, self.clearing = self.clearing, None
        return worker

    def hungry(self, worker: Worker) -> None:
        """Nothing waits for the worker's engine: it may take one shard more."""
        self.leave(worker)
        worker.hungry = True
        self.enter(worker)

    def shared_by(self, running: int) -> float:
        """Shards side by side on a worker when so many run: of many each takes the longer."""
        return max(self.plan.parallel, running / max(1, self.size - self.opening))

    def enter(self, worker: Worker) -> None:
        """Make the worker available, if it is."""
        takes = worker.ready and not (worker.closing or worker.leaving or worker.alone)
        if takes and worker.load < (self.plan.limit if worker.hungry else self.plan.parallel):
            self._free[worker.load][worker.number] = worker

    def leave(self, worker: Worker) -> None:
        """Make the worker unavailable; its load must be what it was when it entered."""
        if worker.load < self.plan.limit:
            self._free[worker.load].pop(worker.number, None)
