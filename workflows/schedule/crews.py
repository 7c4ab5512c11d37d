"""The workers of a role, sorted by load: which of them can take a shard, and how many.

A worker has `parallel` shards in flight. Each time its engine's queue is empty (it is hungry), it
gets one shard more, up to `most_parallel`. A shard above `parallel` that ends is not replaced.
So a worker has as many shards as its engine needs: few large ones, or many that wait for samples.

Invariant: a worker is in at most one bucket, that of its load. The cost of a call is independent
of the number of workers.
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
    """A node with room for it."""


class Close(NamedTuple):
    """Stop a worker that is idle, hangs, or failed to come up."""

    worker: int


class Run(NamedTuple):
    """Give `task` to `worker`."""

    worker: int
    task: Task


Action = Open | Close | Run


@dataclass(slots=True)
class Worker:
    """The schedule's record of a worker."""

    number: int
    role: str
    node: str = ANYWHERE
    placed: bool = False
    """Whether it has its slots on `node`; before that it may wait for them."""
    heard: float = 0.0
    """Time of its last reply, by the schedule's clock."""
    ready: bool = False
    closing: bool = False
    leaving: bool = False
    """It gets no new shards and is closed when it is idle."""
    alone: bool = False
    """It has, or is kept clear for, a shard that must be alone on its worker."""
    running: set[Task] = field(default_factory=set)
    overtaken: int = 0
    """Tries that still run here although their twin has committed the shard."""
    hungry: bool = False
    """Its engine's queue was empty since its last shard, so it can take one more."""

    @property
    def load(self) -> int:
        """Number of tries that run on it, overtaken ones included."""
        return len(self.running) + self.overtaken


class Crew:
    """The workers of one role, sorted by their load."""

    def __init__(self, plan: RolePlan) -> None:
        self.plan = plan
        self.size = 0
        """Number of workers that are up or coming, without those that leave."""
        self.opening = 0
        self.begun = False
        """Whether a worker was ever opened."""
        self.not_before = 0.0
        """Earliest time of the next start, after a failed one."""
        self.clearing: Worker | None = None
        """The worker that gets no new shards until it is free for a shard that must be alone."""
        self._free: list[OrderedDict[int, Worker]] = [OrderedDict() for _ in range(plan.limit)]

    def freest(self, but: int = -1) -> Worker | None:
        """The worker with the least load that can take a shard, other than `but`."""
        return self._freest(self._free[: self.plan.parallel], but)

    def hungriest(self) -> Worker | None:
        """The hungry worker with the least load that can take a shard above `parallel`."""
        return self._freest(self._free[self.plan.parallel :])

    @staticmethod
    def _freest(buckets: Iterable[Mapping[int, Worker]], but: int = -1) -> Worker | None:
        for bucket in buckets:
            for number, worker in bucket.items():
                if number != but:
                    return worker
        return None

    def idle(self) -> Worker | None:
        """A worker without shards."""
        return next(iter(self._free[0].values()), None)

    def clear(self) -> Worker | None:
        """An idle worker, or None. If none is idle, the freest gets no new shards from now on."""
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
        """The queue of the worker's engine is empty: it can take one shard more."""
        self.leave(worker)
        worker.hungry = True
        self.enter(worker)

    def shared_by(self, running: int) -> float:
        """Shards side by side on a worker, given how many run in total; at least `parallel`."""
        return max(self.plan.parallel, running / max(1, self.size - self.opening))

    def enter(self, worker: Worker) -> None:
        """Add the worker to the bucket of its load, if it can take a shard."""
        takes = worker.ready and not (worker.closing or worker.leaving or worker.alone)
        if takes and worker.load < (self.plan.limit if worker.hungry else self.plan.parallel):
            self._free[worker.load][worker.number] = worker

    def leave(self, worker: Worker) -> None:
        """Remove the worker from its bucket. Call it before the load changes."""
        if worker.load < self.plan.limit:
            self._free[worker.load].pop(worker.number, None)
