"""What to start next: a pure state machine over committed shards, workers and engine slots.

It is told what happened (`opened`, `committed`, `failed`, `lost`, `resized`) and answers
`decide()` with actions. It knows no clock, no Ray and no rows; its memory is a few numbers per
shard, and a decision costs the same whatever the number of shards.

Rules, in the order in which they win:
  1. A shard enters a stage when it is committed in the one before; within a stage first come,
     first served, shards that failed first.
  2. At most `window` shards wait before a stage: a slow stage stops the one before it.
  3. Where engine slots are fewer than model roles, roles take turns by backlog: a worker is
     closed only when it has nothing to do and another role waits for its slots, so that models
     are switched as rarely as the window allows.

Invariant: every (stage, shard) of the plan is in exactly one of: not yet reached, ready, running,
done; a shard that fails `attempts` times stops the run, it is never skipped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from workflows.road import StageSpec


@dataclass(frozen=True, slots=True)
class RolePlan:
    """How the workers of one role may be placed."""

    slots: int
    """Engine slots (GPUs) that one worker takes; 0: needs none."""
    parallel: int
    """Shards in flight on one worker, so that its engine never drains between shards."""
    most: int
    """Most workers of this role."""


@dataclass(frozen=True, slots=True)
class Task:
    """One try of one shard in one stage."""

    stage: str
    shard: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Open:
    """Start a worker of `role`."""

    role: str
    worker: int


@dataclass(frozen=True, slots=True)
class Close:
    """Stop an idle worker."""

    worker: int


@dataclass(frozen=True, slots=True)
class Run:
    """Give `task` to `worker`."""

    worker: int
    task: Task


Action = Open | Close | Run


class ShardExhausted(Exception):
    """A shard failed in every try it had."""

    def __init__(self, task: Task, cause: str) -> None:
        super().__init__(f"shard {task.shard} of {task.stage} failed {task.attempt} times: {cause}")
        self.task = task
        self.cause = cause


@dataclass(slots=True)
class _Worker:
    role: str
    ready: bool = False
    closing: bool = False
    running: set[Task] = field(default_factory=set)


class Schedule:
    """The state machine. Not thread-safe: one driver owns it."""

    def __init__(
        self,
        road: Sequence[StageSpec],
        shards: int,
        done: Mapping[str, Iterable[int]],
        roles: Mapping[str, RolePlan],
        slots: int,
        window: int,
        attempts: int = 3,
    ) -> None:
        """Plan `shards` shards over `road`; `done` says what is committed already."""
        self._road = tuple(road)
        self._position = {stage.name: i for i, stage in enumerate(self._road)}
        self._roles = dict(roles)
        self._slots = slots
        self._window = window
        self._attempts = attempts
        self._ready: list[deque[Task]] = [deque() for _ in self._road]
        self._running = [0] * len(self._road)
        self._held = [0] * len(self._road)
        """Shards that are between stage i and i+1: ready or running in i+1."""
        self._workers: dict[int, _Worker] = {}
        self._next_worker = 0
        self._left = 0
        self.switches = 0
        """Workers closed to make room for another role."""
        self._enter(shards, done)

    def _enter(self, shards: int, done: Mapping[str, Iterable[int]]) -> None:
        committed = [frozenset(done.get(stage.name, ())) for stage in self._road]
        for shard in range(shards):
            first = next((i for i, have in enumerate(committed) if shard not in have), None)
            if first is None:
                continue
            self._left += len(self._road) - first
            self._ready[first].append(Task(self._road[first].name, shard, 1))
            if first:
                self._held[first - 1] += 1

    # ---------------------------------------------------------------- what happened

    def opened(self, worker: int) -> None:
        """The worker is up."""
        self._workers[worker].ready = True

    def closed(self, worker: int) -> None:
        """The worker has stopped, as asked."""
        self._workers.pop(worker, None)

    def lost(self, worker: int, cause: str) -> None:
        """The worker died: what ran on it goes to the front of its queue."""
        gone = self._workers.pop(worker, None)
        for task in sorted(gone.running, key=lambda t: t.shard) if gone else ():
            self._retry(task, cause)

    def resized(self, slots: int) -> None:
        """The cluster has this many engine slots now; running workers are left alone."""
        self._slots = slots

    def committed(self, worker: int, task: Task) -> None:
        """The shard is committed: it moves on."""
        if not self._take_off(worker, task):
            return
        position = self._position[task.stage]
        self._left -= 1
        if position:
            self._held[position - 1] -= 1
        if position + 1 < len(self._road):
            self._held[position] += 1
            self._ready[position + 1].append(Task(self._road[position + 1].name, task.shard, 1))

    def failed(self, worker: int, task: Task, cause: str) -> None:
        """The try failed by infrastructure. Raises ShardExhausted after the last try."""
        if self._take_off(worker, task):
            self._retry(task, cause, counted_off=True)

    def _take_off(self, worker: int, task: Task) -> bool:
        """Whether the task was still this worker's; a late reply of a lost worker is not."""
        owner = self._workers.get(worker)
        if owner is None or task not in owner.running:
            return False
        owner.running.remove(task)
        self._running[self._position[task.stage]] -= 1
        return True

    def _retry(self, task: Task, cause: str, counted_off: bool = False) -> None:
        position = self._position[task.stage]
        if not counted_off:
            self._running[position] -= 1
        if task.attempt >= self._attempts:
            raise ShardExhausted(task, cause)
        self._ready[position].appendleft(Task(task.stage, task.shard, task.attempt + 1))

    # ---------------------------------------------------------------- what to do

    @property
    def finished(self) -> bool:
        """Every shard of every stage is committed."""
        return self._left == 0

    def backlog(self, role: str) -> int:
        """Shards that a worker of `role` could start now."""
        return sum(
            self._startable(i) for i, stage in enumerate(self._road) if stage.role == role
        )

    def queued(self) -> dict[str, tuple[int, int]]:
        """Per stage: (ready, running)."""
        return {
            stage.name: (len(self._ready[i]), self._running[i])
            for i, stage in enumerate(self._road)
        }

    def _startable(self, position: int) -> int:
        """Ready shards whose output there is still room for."""
        if position + 1 == len(self._road):
            return len(self._ready[position])
        room = self._window - self._held[position] - self._running[position]
        return max(0, min(len(self._ready[position]), room))

    def decide(self) -> list[Action]:
        """What to start or stop now. Applying it is the driver's; the state already counts it."""
        actions: list[Action] = [*self._assign(), *self._place()]
        return actions

    def _assign(self) -> Iterable[Action]:
        for number, worker in self._workers.items():
            if not worker.ready or worker.closing:
                continue
            while len(worker.running) < self._roles[worker.role].parallel:
                position = self._next_stage(worker.role)
                if position is None:
                    break
                task = self._ready[position].popleft()
                worker.running.add(task)
                self._running[position] += 1
                yield Run(number, task)

    def _next_stage(self, role: str) -> int | None:
        """The stage furthest down the road that has something startable: it frees room."""
        for i in range(len(self._road) - 1, -1, -1):
            if self._road[i].role == role and self._startable(i):
                return i
        return None

    def _place(self) -> Iterable[Action]:
        """Open workers where shards wait, closing idle ones where slots are short."""
        waiting = sorted(
            (role for role in self._roles if self._wants_worker(role)),
            key=self._furthest,
            reverse=True,
        )
        for role in waiting:
            plan = self._roles[role]
            while self._wants_worker(role):
                missing = plan.slots - self._free_slots()
                if missing > 0 and plan.slots:
                    yield from self._make_room(role, missing)
                    break  # it opens once the closed workers are gone
                yield Open(role, self._add(role))

    def _wants_worker(self, role: str) -> bool:
        mine = [w for w in self._workers.values() if w.role == role and not w.closing]
        coming = sum(not w.ready for w in mine) * self._roles[role].parallel
        return len(mine) < self._roles[role].most and self.backlog(role) > coming

    def _furthest(self, role: str) -> int:
        return max(
            (i for i, s in enumerate(self._road) if s.role == role and self._startable(i)),
            default=-1,
        )

    def _free_slots(self) -> int:
        return self._slots - sum(self._roles[w.role].slots for w in self._workers.values())

    def _make_room(self, role: str, missing: int) -> Iterable[Action]:
        leaving = sum(
            self._roles[w.role].slots for w in self._workers.values() if w.closing
        )
        for number, worker in self._workers.items():
            if leaving >= missing:
                return
            cost = self._roles[worker.role].slots
            idle = worker.ready and not worker.running and not worker.closing
            if cost and idle and worker.role != role and not self.backlog(worker.role):
                worker.closing = True
                leaving += cost
                self.switches += 1
                yield Close(number)

    def _add(self, role: str) -> int:
        number = self._next_worker
        self._next_worker += 1
        self._workers[number] = _Worker(role)
        return number
