"""Which workers there are, which of them can take a shard, and which role gets the next slot.

Slots (GPUs, or what else a cluster counts) lie in pools; each role takes its slots from one pool.

  - Turns: where the slots of a pool are fewer than its roles need, or one role's work is so small
    that it deserves no whole worker, an idle worker without a backlog gives way to a role that
    waits. The window between stages makes turns long and switches few.
    Where they suffice for one of each, its first worker is opened before its work comes.
  - Shares: where slots are many, every role with work left gets a share of them by the seconds of
    work that it has left, at least one worker. A role that has more than its share gives way when
    another one that has less is waiting.

Invariant: slots in use never exceed what a pool had when the worker was opened; a worker counts
until it is closed or lost. Every question costs the same whatever the number of workers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from workflows.shards import Task

ENGINES = "engines"
FEW = 4
"""A pool below so many times the slots of one worker of each role may take turns."""
SLACK = 0.1
"""Share of its workers that a role may have too many before it gives way."""


@dataclass(frozen=True, slots=True)
class RolePlan:
    """How the workers of one role may be placed."""

    slots: int
    """Slots that one worker takes; 0: needs none."""
    parallel: int
    """Shards in flight on one worker, so that its engine never drains between shards."""
    most: int
    """Most workers of this role."""
    pool: str = ENGINES
    """Where its slots are."""


class Open(NamedTuple):
    """Start a worker of `role`."""

    role: str
    worker: int


class Close(NamedTuple):
    """Stop a worker: idle, hung, or never come up."""

    worker: int


@dataclass(slots=True)
class Worker:
    """One worker, as the schedule knows it."""

    number: int
    role: str
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

    @property
    def load(self) -> int:
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
        self._free: list[OrderedDict[int, Worker]] = [OrderedDict() for _ in range(plan.parallel)]

    def freest(self, but: int = -1) -> Worker | None:
        """The worker with the least load that can take a shard, other than `but`."""
        for bucket in self._free:
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
            if (busy := self.freest()) is not None:
                self.leave(busy)
                busy.alone, self.clearing = True, busy
            return None
        if self.clearing.load:
            return None
        worker, self.clearing = self.clearing, None
        return worker

    def enter(self, worker: Worker) -> None:
        """Make the worker available, if it is."""
        takes = worker.ready and not (worker.closing or worker.leaving or worker.alone)
        if takes and worker.load < self.plan.parallel:
            self._free[worker.load][worker.number] = worker

    def leave(self, worker: Worker) -> None:
        """Make the worker unavailable; its load must be what it was when it entered."""
        if worker.load < self.plan.parallel:
            self._free[worker.load].pop(worker.number, None)


class Need(NamedTuple):
    """What a role has to do."""

    backlog: int
    """Shards that a new worker could start now."""
    left: float
    """Seconds of one worker that the shards of its stages still take; 0: nothing is left."""
    furthest: int
    """Position of the furthest stage that has a backlog: of equal queues it goes first."""


class Workforce:
    """All workers and the slots they take."""

    def __init__(self, roles: Mapping[str, RolePlan], slots: Mapping[str, int]) -> None:
        self.crews = {role: Crew(plan) for role, plan in roles.items()}
        self.workers: dict[int, Worker] = {}
        self.slots = dict(slots)
        self.used: dict[str, int] = dict.fromkeys((plan.pool for plan in roles.values()), 0)
        self.freeing: dict[str, int] = dict.fromkeys(self.used, 0)
        """Slots of workers that are closing or leaving."""
        self._next = 0
        self._changed = True
        """Workers came, went or ran dry since the last placing."""
        self._asked = 0
        self.switches = 0
        """Workers closed to make room for another role."""

    # ---------------------------------------------------------------- what happened

    def add(self, role: str) -> Worker:
        """A worker is being opened."""
        worker = Worker(self._next, role)
        self._next += 1
        crew = self.crews[role]
        crew.size += 1
        crew.opening += 1
        crew.begun = True
        self.used[crew.plan.pool] += crew.plan.slots
        self.workers[worker.number] = worker
        return worker

    def up(self, worker: Worker, now: float) -> None:
        """It is there."""
        crew = self.crews[worker.role]
        crew.opening -= not worker.ready
        worker.ready, worker.heard = True, now
        self._changed = True
        crew.enter(worker)

    def remove(self, number: int) -> Worker | None:
        """It is gone; its slots are free."""
        self._changed = True
        worker = self.workers.pop(number, None)
        if worker is None:
            return None
        crew = self.crews[worker.role]
        self.used[crew.plan.pool] -= crew.plan.slots
        if worker.leaving:
            self.freeing[crew.plan.pool] -= crew.plan.slots
        else:
            self._uncount(worker, crew)
        return worker

    def _uncount(self, worker: Worker, crew: Crew) -> None:
        crew.leave(worker)
        crew.size -= 1
        crew.opening -= not worker.ready
        if crew.clearing is worker:
            crew.clearing = None

    def retire(self, worker: Worker) -> None:
        """Give it nothing new."""
        if not worker.leaving:
            crew = self.crews[worker.role]
            self._uncount(worker, crew)
            worker.leaving = True
            self.freeing[crew.plan.pool] += crew.plan.slots

    def close(self, worker: Worker) -> Close:
        """Stop it now; it counts until it is removed."""
        self.retire(worker)
        worker.closing = True
        return Close(worker.number)

    def never_coming(self) -> list[Worker]:
        """Workers that were being opened on slots that are gone."""
        found: list[Worker] = []
        over = {pool: used - self.slots.get(pool, 0) for pool, used in self.used.items()}
        for worker in self.workers.values():
            plan = self.crews[worker.role].plan
            if not worker.ready and not worker.closing and plan.slots and over[plan.pool] > 0:
                over[plan.pool] -= plan.slots
                found.append(worker)
        return found

    def in_flight(self) -> int:
        """Shards that may have to be between two stages, so that no slot of a large pool waits."""
        most = 0
        for pool, total in self.slots.items():
            plans = [c.plan for c in self.crews.values() if c.plan.pool == pool and c.plan.slots]
            if plans and total >= FEW * sum(plan.slots for plan in plans):
                workers = total // min(plan.slots for plan in plans)
                most = max(most, 3 * workers * max(plan.parallel for plan in plans))
        return most

    # ---------------------------------------------------------------- what to do

    def wants_placing(self) -> bool:
        """After a change, where a worker is idle or a role has none, else now and then."""
        self._asked -= 1
        return (
            self._changed
            or self._asked <= 0
            or any(not c.size or (c.plan.slots and c.idle()) for c in self.crews.values())
        )

    def place(self, needs: Mapping[str, Need], now: float) -> Iterator[Open | Close]:
        """Open workers where shards wait, longest queue first; close others where slots lack."""
        self._changed = False
        self._asked = sum(self.slots.values()) // 16
        waiting = [role for role in needs if self._is_short(role, needs[role], now)]
        waiting.sort(key=lambda role: (needs[role].backlog, needs[role].furthest), reverse=True)
        for role in waiting:
            yield from self._staff(role, needs, now)
        for pool in self.used:
            yield from self._ahead(pool, needs)

    def _ahead(self, pool: str, needs: Mapping[str, Need]) -> Iterator[Open]:
        """Open each role's first worker before its work comes, one at a time, while others work.

        Only in a pool that holds one worker of each role and not much more: in a large one, slots
        that wait for work cost more than a model that is loaded late.
        """
        total = self.slots.get(pool, 0)
        active = {
            role: crew
            for role, crew in self.crews.items()
            if crew.plan.pool == pool and crew.plan.slots and needs[role].left
        }
        least = sum(crew.plan.slots for crew in active.values())
        if not least <= total < FEW * least or any(crew.opening for crew in active.values()):
            return
        for role, crew in active.items():
            if not crew.begun and crew.plan.slots <= total - self.used[pool]:
                yield Open(role, self.add(role).number)
                return

    def _is_short(self, role: str, need: Need, now: float) -> bool:
        crew = self.crews[role]
        coming = crew.opening * crew.plan.parallel
        return need.backlog > coming and crew.size < crew.plan.most and crew.not_before <= now

    def _staff(self, role: str, needs: Mapping[str, Need], now: float) -> Iterator[Open | Close]:
        crew = self.crews[role]
        pool = crew.plan.pool
        shares = self._shares(pool, needs) if crew.plan.slots else None
        while self._is_short(role, needs[role], now):
            if shares and crew.size >= shares[role] and not self._may_borrow(shares):
                return
            missing = crew.plan.slots - (self.slots.get(pool, 0) - self.used[pool])
            if crew.plan.slots and missing > 0:
                if shares is None:
                    yield from self._turn(role, pool, missing, needs)
                elif crew.size < shares[role]:
                    yield from self._reclaim(role, pool, missing, shares, needs)
                return  # it opens once the closed workers are gone
            yield Open(role, self.add(role).number)

    def _may_borrow(self, shares: Mapping[str, int]) -> bool:
        """Slots that nobody has claimed may be used beyond a share once every role has begun."""
        return all(self.crews[role].size for role in shares)

    def _turn(
        self, role: str, pool: str, missing: int, needs: Mapping[str, Need]
    ) -> Iterator[Close]:
        """Close idle workers of roles that have no backlog."""
        for other, crew in self.crews.items():
            if other == role or crew.plan.pool != pool or not crew.plan.slots:
                continue  # it holds nothing that would help
            while missing > self.freeing[pool] and not needs[other].backlog:
                idle = crew.idle()
                if idle is None:
                    break
                self.switches += 1
                yield self.close(idle)

    def _reclaim(
        self,
        role: str,
        pool: str,
        missing: int,
        shares: Mapping[str, int],
        needs: Mapping[str, Need],
    ) -> Iterator[Close]:
        """Take slots back from roles that have more than their share, idle workers first."""
        slack = SLACK if self.crews[role].size else 0.0
        if shares[role] - self.crews[role].size < slack * shares[role]:
            return
        for other, crew in self.crews.items():
            if other == role or crew.plan.pool != pool or not crew.plan.slots:
                continue
            share = shares.get(other, 0)
            while missing > self.freeing[pool] and crew.size > share + slack * share:
                leaver = crew.idle() or (crew.freest() if needs[other].left else None)
                if leaver is None:
                    break
                self.switches += 1
                if leaver.load:
                    self.retire(leaver)
                else:
                    yield self.close(leaver)

    def _shares(self, pool: str, needs: Mapping[str, Need]) -> dict[str, int] | None:
        """Workers that each role with work left may have; None: the roles take turns."""
        total = self.slots.get(pool, 0)
        active = {
            role: crew.plan
            for role, crew in self.crews.items()
            if crew.plan.pool == pool and crew.plan.slots and needs[role].left
        }
        least = sum(plan.slots for plan in active.values())
        if least > total:
            return None
        whole = sum(needs[role].left * plan.slots for role, plan in active.items())
        fair = {role: needs[role].left * total / whole for role in active}
        if len(active) > 1 and total < FEW * least and min(fair.values()) < 0.5:
            return None
        shares = {role: max(1, int(part)) for role, part in fair.items()}
        while sum(shares[role] * plan.slots for role, plan in active.items()) > total:
            largest = max(shares, key=lambda role: shares[role] * active[role].slots)
            shares[largest] -= 1
        spare = total - sum(shares[role] * plan.slots for role, plan in active.items())
        for role in sorted(active, key=lambda role: fair[role] - shares[role], reverse=True):
            if fair[role] > shares[role] and active[role].slots <= spare:
                shares[role] += 1
                spare -= active[role].slots
        return shares
