"""What to start next: a pure state machine over committed shards, workers and slots.

The driver reports what happened (`opened`, `committed`, `failed`, `lost`, `resized`), and
`decide()` returns actions. The schedule is independent of Ray, rows and the real clock.

Rules, the first ones first:
  1. A shard enters a stage once it is committed in the stage before. The last stage of the road
     is served first; within a stage lost shards come first, then the order of arrival.
  2. At most `window` shards wait before a stage: a slow stage stops the one before it.
  3. A late shard gets a twin on another worker that has room: the first commit wins. A worker is
     replaced if a twin overtook it, or if it is silent and all its tasks are late.
  4. A hungry worker, whose engine's queue is empty, gets one shard more
     (`workflows.schedule.crews`), after workers with fewer shards and those that are coming.
  5. A shard that died with its worker is tried more carefully each time
     (`workflows.schedule.queues`). Roles get slots by turns or by shares
     (`workflows.schedule.placement`).

Invariant: every (stage, shard) of the plan is in exactly one of: not yet reached, waiting,
running, done; none is skipped. The cost of a decision is independent of the number of shards and
workers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from workflows.road import StageSpec
from workflows.schedule.ceiling import Ceiling
from workflows.schedule.crews import Action, Close, Crew, Open, Run, Worker
from workflows.schedule.deadlines import ONE_BY_ONE, Deadlines, Late
from workflows.schedule.nodes import RolePlan, Slots
from workflows.schedule.placement import Need, Workforce
from workflows.schedule.queues import ShardExhausted, Shards, Task
from workflows.schedule.tries import Tries

__all__ = ["Action", "Close", "Open", "RolePlan", "Run", "Schedule", "ShardExhausted", "Task"]


class Schedule:
    """The state machine of a run. Not thread-safe: its driver alone calls it."""

    def __init__(
        self,
        road: Sequence[StageSpec],
        shards: int,
        done: Mapping[str, Iterable[int]],
        roles: Mapping[str, RolePlan],
        slots: Slots,
        window: int,
        attempts: int = 3,
        *,
        pause: float = 0.0,
        deadlines: Deadlines | None = None,
        ceiling: Ceiling | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Plan `shards` shards over `road`; `done`: stage -> shards already committed.

        `pause`: seconds before a failed shard or start is tried again; longer each time for shards.
        """
        self._road = tuple(road)
        self._position = {stage.name: i for i, stage in enumerate(self._road)}
        self._stages_of = {
            role: [i for i, stage in enumerate(self._road) if stage.role == role] for role in roles
        }
        self._shards = Shards(road, shards, done, window, attempts, pause, ceiling)
        self._staff = Workforce(roles, slots)
        self._pause = pause
        self._window = window
        self._shards.window = max(window, self._staff.in_flight())
        self._deadlines = deadlines or Deadlines()
        self._clock = clock
        self._decided = clock()
        self._tries = Tries()
        self._twins: list[deque[Task]] = [deque() for _ in road]
        """Per stage, the late tries that wait for a worker to run their twin."""
        self._closings: list[Close] = []
        """Workers to close with the next decision."""
        self.replaced = 0
        """Number of workers closed because they hung or were overtaken."""

    def placed(self, number: int, node: str) -> None:
        """The worker, which is still coming, has its slots, on this node."""
        self._staff.place_on(number, node)

    def opened(self, number: int) -> None:
        """The worker is up."""
        worker = self._staff.workers.get(number)
        if worker is not None and not worker.closing:
            self._staff.up(worker, self._clock())

    def hungry(self, number: int) -> None:
        """The queue of the worker's engine is empty: it can take one shard more."""
        worker = self._staff.workers.get(number)
        if worker is not None:
            self._staff.crews[worker.role].hungry(worker)

    def closed(self, number: int) -> None:
        """The worker is gone, after a `Close`."""
        self.lost(number, "closed")

    def lost(self, number: int, cause: str) -> None:
        """The worker is gone: its shards wait again. Raises ShardExhausted."""
        worker = self._staff.remove(number)
        if worker is not None:
            self._orphan(worker, cause)

    def broken(self, number: int, cause: str) -> bool:
        """The worker is useless: its shards wait again, and the next decision closes it. False if
        it is closing already. Raises ShardExhausted.
        """
        worker = self._staff.workers.get(number)
        if worker is None or worker.closing:
            return False
        if not worker.ready and self._pause:
            self._staff.crews[worker.role].not_before = self._clock() + self._pause
        self._closings.append(self._staff.close(worker))
        self._orphan(worker, cause)
        return True

    def _orphan(self, worker: Worker, cause: str) -> None:
        for task in self._tries.overtaken_on(worker):
            self._forget(task)
        tasks, worker.running = sorted(worker.running, reverse=True), set()
        for task in tasks:
            if not self._end(task, committed=False):
                self._shards.die(self._position[task.stage], task, cause)

    def resized(self, slots: Slots) -> None:
        """Set the cluster's slots. Workers that are up stay."""
        self._staff.resize(slots)
        self._shards.window = max(self._window, self._staff.in_flight())
        self._closings += [self._staff.close(worker) for worker in self._staff.never_coming()]

    def committed(self, number: int, task: Task) -> bool:
        """The shard is committed and moves on. False if the reply no longer counts."""
        worker = self._heard(number)
        if not self._take_off(worker, task):
            return False
        position = self._position[task.stage]
        twin = self._tries.twin(task)
        self._end(task, committed=True)
        if twin is not None and (slower := self._tries.overtake(twin)) is not None:
            slower.running.discard(twin)
            slower.overtaken += 1
            if twin.attempt < task.attempt:
                self._staff.retire(slower)
                self.replaced += 1
                self._stop_when_idle(slower)
        self._shards.commit(position, task.shard)
        return True

    def failed(self, number: int, task: Task, cause: str, suspect: bool = False) -> bool:
        """The try failed; `suspect`: the shard may be the cause. Raises ShardExhausted.

        False if the reply no longer counts.
        """
        worker = self._heard(number)
        if not self._take_off(worker, task):
            return False
        if not self._end(task, committed=False):
            position = self._position[task.stage]
            if suspect:
                self._shards.die(position, task, cause)
            else:
                self._shards.fail(position, task, cause, self._clock())
        return True

    def _heard(self, number: int) -> Worker | None:
        worker = self._staff.workers.get(number)
        if worker is not None:
            worker.heard = self._clock()
        return worker

    def _take_off(self, worker: Worker | None, task: Task) -> bool:
        """Remove a try from its worker. False for an overtaken try or a lost worker."""
        if worker is None:
            return False
        crew = self._staff.crews[worker.role]
        counts = task in worker.running
        if counts or worker.overtaken:
            crew.leave(worker)
            if counts:
                worker.running.remove(task)
            else:
                worker.overtaken -= 1
                self._forget(task)
            if not worker.load and crew.clearing is not worker:
                worker.alone = False
            crew.enter(worker)
            self._stop_when_idle(worker)
        return counts

    def _forget(self, task: Task) -> None:
        """Forget an overtaken try that ended, by itself or with its worker."""
        if self._tries.forget(task):
            self._deadlines.end(task, self._clock(), committed=False)

    def _stop_when_idle(self, worker: Worker) -> None:
        if worker.leaving and not worker.closing and not worker.running:
            self._closings.append(self._staff.close(worker))

    def _end(self, task: Task, committed: bool) -> bool:
        """The try can commit no more. True if its twin still can."""
        self._deadlines.end(task, self._clock(), committed)
        if not self._tries.end(task):
            return False
        self._shards.forget_twin(self._position[task.stage], task.shard)
        return True

    @property
    def finished(self) -> bool:
        """Whether every shard of every stage is committed."""
        return self._shards.finished

    @property
    def switches(self) -> int:
        """Number of workers closed to make room for another role."""
        return self._staff.switches

    def backlog(self, role: str) -> int:
        """Number of shards that another worker of `role` could start now."""
        return sum(
            self._shards.startable(i) + self._shards.careful(i) + len(self._twins[i])
            for i in self._stages_of[role]
        )

    @property
    def slots(self) -> Mapping[str, int]:
        """Pool -> slots."""
        return self._staff.slots

    def staff(self) -> dict[str, int]:
        """Role -> number of workers that are up or coming."""
        return {role: crew.size for role, crew in self._staff.crews.items()}

    def queued(self) -> dict[str, tuple[int, int]]:
        """Stage -> number of (waiting, running) shards."""
        return {
            stage.name: (self._shards.waiting(i), self._shards.running[i])
            for i, stage in enumerate(self._road)
        }

    @property
    def wake_in(self) -> float | None:
        """Seconds after which to decide again even without an event; None: no limit."""
        times = [self._shards.wakes_at, self._deadlines.due_at]
        # A pause that is over still counts until the next decision.
        crews = self._staff.crews.values()
        times += [crew.not_before for crew in crews if crew.not_before > self._decided]
        first = min((at for at in times if at is not None), default=None)
        return None if first is None else max(0.0, first - self._clock())

    def decide(self) -> list[Action]:
        """What to start or stop now; the state counts it already. Raises LimitReached."""
        now = self._decided = self._clock()
        self._shards.wake(now)
        self._overdue(now)
        actions: list[Action] = [*self._assign(now), *self._closings]
        self._closings.clear()
        if self._staff.wants_placing():
            actions += self._staff.place(self._needs(), now)
        self._shards.check_ceiling()
        return actions

    def _assign(self, now: float) -> Iterator[Action]:
        for position in range(len(self._road) - 1, -1, -1):
            crew = self._staff.crews[self._road[position].role]
            while self._shards.careful(position) and (worker := crew.clear()) is not None:
                yield self._start(worker, self._shards.take_careful(position), now)
            while self._shards.startable(position):
                free = crew.freest()
                if free is None:
                    break
                yield self._start(free, self._shards.take(position), now)
            while self._shards.startable(position) > crew.opening * crew.plan.parallel:
                hungry = crew.hungriest()
                if hungry is None:
                    break
                yield self._start(hungry, self._shards.take(position), now)
            if self._twins[position]:
                yield from self._assign_twins(position, crew, now)

    def _assign_twins(self, position: int, crew: Crew, now: float) -> Iterator[Action]:
        waiting = self._twins[position]
        for _ in range(len(waiting)):
            late = waiting.popleft()
            owner = self._tries.owner(late)
            if owner is None:
                self._shards.forget_twin(position, late.shard)
                continue
            free = crew.freest(but=owner.number)
            if free is None:
                waiting.append(late)
                continue
            twin = self._shards.take_twin(position, late.shard)
            self._tries.pair(late, twin)
            yield self._start(free, twin, now)

    def _start(self, worker: Worker, task: Task, now: float) -> Run:
        crew = self._staff.crews[worker.role]
        crew.leave(worker)
        worker.running.add(task)
        worker.hungry = False
        worker.alone = task.care != "shared"
        crew.enter(worker)
        self._tries.start(task, worker)
        self._deadlines.start(task, now)
        return Run(worker.number, task)

    def _overdue(self, now: float) -> None:
        for late in self._deadlines.late(now):
            task = late.task
            worker = self._tries.holder(task)
            if worker is None:
                continue
            position = self._position[task.stage]
            patience = ONE_BY_ONE if task.care == "isolated" else 1
            if late.times > patience and self._hangs(worker, late, now):
                self.replaced += 1
                self.broken(worker.number, f"no reply in {late.seconds:.0f} s")
            elif self._may_have_twin(task) and self._shards.ask_twin(position, task):
                self._twins[position].append(task)

    def _may_have_twin(self, task: Task) -> bool:
        """Whether a late try may get a twin. Two careful ones would blame each other's items."""
        alone = self._tries.owner(task) is not None and self._tries.twin(task) is None
        return alone and task.care == "shared"

    def _hangs(self, worker: Worker, late: Late, now: float) -> bool:
        """Whether all tasks of a worker are late and its last reply is a limit ago."""
        silent = now - worker.heard >= self._deadlines.limit(late.task.stage)
        return silent and all(self._deadlines.is_late(task) for task in worker.running)

    def _needs(self) -> dict[str, Need]:
        seconds = self._deadlines.usual([stage.name for stage in self._road])
        return {role: self._need(role, seconds) for role in self._staff.crews}

    def _need(self, role: str, seconds: Sequence[float]) -> Need:
        crew = self._staff.crews[role]
        parallel = crew.shared_by(sum(self._shards.running[i] for i in self._stages_of[role]))
        backlog, left, furthest = 0, 0.0, -1
        for i in self._stages_of[role]:
            here = self._shards.startable(i) + self._shards.careful(i) + len(self._twins[i])
            if here:
                backlog, furthest = backlog + here, i
            left += self._shards.left[i] * seconds[i] / parallel
        return Need(backlog, left, furthest)
