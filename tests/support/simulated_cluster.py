"""A cluster whose work takes virtual time: the real schedule, none of the tokens.

Invariant: everything follows from the seed; time passes only between events, and only here.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from workflows.schedule.schedule import Close, Open, RolePlan, Run, Schedule, Task

Seconds = Callable[[Task, random.Random], float]


@dataclass
class VirtualClock:
    """Give it to the schedule."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Engines:
    """Engine seconds, by what the slots did."""

    busy: float = 0.0
    idle: float = 0.0
    loading: float = 0.0


class SimulatedNodes:
    """GPUs of nodes, handed out as Ray does: whole, or a share of the one that has least left.

    A worker for which there is no room is an error: nothing may wait for a GPU that is not there.
    """

    def __init__(self, gpus: Mapping[str, int]) -> None:
        self.free = {node: [100] * count for node, count in gpus.items()}
        self._held: dict[int, tuple[str, list[int], int]] = {}

    def whole(self, node: str) -> int:
        """GPUs of a node that are free."""
        return self.free[node].count(100)

    def take(self, worker: int, node: str, plan: RolePlan) -> None:
        """Hand out GPUs."""
        free = self.free[node]
        fitting = sorted(
            (gpu for gpu in range(len(free)) if free[gpu] >= plan.share), key=free.__getitem__
        )
        taken = fitting[: plan.slots]
        assert len(taken) == plan.slots, f"no room on {node} ({free}) for {plan}"
        for gpu in taken:
            free[gpu] -= plan.share
        self._held[worker] = node, taken, plan.share

    def give_back(self, worker: int) -> None:
        """The worker is gone."""
        node, taken, share = self._held.pop(worker, ("", [], 0))
        for gpu in taken:
            self.free[node][gpu] += share


@dataclass
class SimulatedCluster:
    """Applies the schedule's actions and tells it what came of them, in the order of time."""

    schedule: Schedule
    clock: VirtualClock
    roles: Mapping[str, RolePlan]
    seconds: Seconds
    """Of one shard in one stage, while others run beside it on the same worker."""
    open_s: float = 60.0
    close_s: float = 5.0
    die: float = 0.0
    """Share of tries that take their worker along."""
    fail: float = 0.0
    seed: int = 0
    on_commit: Callable[[Task], None] | None = None
    nodes: SimulatedNodes | None = None
    """Where workers stand; None: there is one pool of slots."""
    role_of: dict[int, str] = field(default_factory=dict)
    load: dict[int, set[Task]] = field(default_factory=dict)
    """Workers that are up."""
    closing: set[int] = field(default_factory=set)
    committed: Counter[str] = field(default_factory=Counter)
    engines: Engines = field(default_factory=Engines)
    slots_busy: int = 0
    slots_up: int = 0
    slots_loading: int = 0
    events: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._queue: list[tuple[float, int, str, int, Task | None]] = []
        self._order = 0

    def step(self) -> bool:
        """One decision and the events of one moment; False when all is done."""
        for action in self.schedule.decide():
            self._apply(action)
        if self.schedule.finished:
            return False
        wake = self.schedule.wake_in
        if not self._queue and wake is None:
            raise AssertionError(f"nothing can happen any more: {self.schedule.queued()}")
        at = self._queue[0][0] if self._queue else float("inf")
        if wake is not None and self.clock.now + wake < at:
            self._advance(self.clock.now + max(wake, 1e-6))
            return True
        self._advance(at)
        _, _, what, worker, task = heapq.heappop(self._queue)
        self.events += 1
        self._happen(what, worker, task)
        return True

    def _advance(self, at: float) -> None:
        passed = at - self.clock.now
        self.engines.busy += passed * self.slots_busy
        self.engines.idle += passed * (self.slots_up - self.slots_busy)
        self.engines.loading += passed * self.slots_loading
        self.clock.now = at

    def _later(self, seconds: float, what: str, worker: int, task: Task | None = None) -> None:
        self._order += 1
        heapq.heappush(self._queue, (self.clock.now + seconds, self._order, what, worker, task))

    def _apply(self, action: Open | Close | Run) -> None:
        if isinstance(action, Run):
            here = self.load[action.worker]
            if not here:
                self.slots_busy += self._slots(action.worker)
            here.add(action.task)
            drawn = self.random.random()
            what = "lost" if drawn < self.die else "failed" if drawn < self.fail else "committed"
            self._later(self.seconds(action.task, self.random), what, action.worker, action.task)
        elif isinstance(action, Open):
            self.role_of[action.worker] = action.role
            if self.nodes is not None and self._slots(action.worker):
                self.nodes.take(action.worker, action.node, self.roles[action.role])
            self.slots_loading += self._slots(action.worker)
            self._later(self.open_s if self._slots(action.worker) else 0, "opened", action.worker)
        else:
            self._gone(action.worker)
            self.closing.add(action.worker)
            self._later(self.close_s, "closed", action.worker)

    def _slots(self, worker: int) -> int:
        return self.roles[self.role_of[worker]].slots

    def _gone(self, worker: int) -> None:
        tasks = self.load.pop(worker, None)
        if tasks is None:
            self.slots_loading -= self._slots(worker)
            return
        self.slots_up -= self._slots(worker)
        if tasks:
            self.slots_busy -= self._slots(worker)

    def _happen(self, what: str, worker: int, task: Task | None) -> None:
        if what == "opened":
            if worker in self.role_of and worker not in self.closing:
                self.load[worker] = set()
                self.slots_loading -= self._slots(worker)
                self.slots_up += self._slots(worker)
                self.schedule.opened(worker)
            return
        if what == "closed":
            self.schedule.closed(worker)
            if self.nodes is not None:
                self.nodes.give_back(worker)
            self.closing.discard(worker)
            self.role_of.pop(worker)
            return
        here = self.load.get(worker)
        if here is None or task is None or task not in here:
            return  # its worker is gone
        if what == "lost":
            self.schedule.broken(worker, "killed")
            return
        here.remove(task)
        if not here:
            self.slots_busy -= self._slots(worker)
        if what == "failed":
            self.schedule.failed(worker, task, "failed")
        elif self.schedule.committed(worker, task):
            self.committed[task.stage] += 1
            if self.on_commit is not None:
                self.on_commit(task)
