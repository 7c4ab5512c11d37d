"""The queue of every stage on the road, and how a failed shard is tried again.

In each stage a shard is waiting, running, resting after a failure, or done. Two kinds of failure
are distinguished. A *failed* try has a cause outside the shard, such as an unreachable store: the
shard rests and is tried again, up to `attempts` times. In a *death* the worker died too, and the
shard may be the cause. It is tried again among others, then alone on a worker, which clears the
innocent shards. At last it is tried item by item, which finds the item that kills the worker
(`actors.workers.poison`).

Invariant: every (stage, shard) of the plan is in exactly one queue; none is ever skipped. Shards
are tried item by item only if others of their stage commit: an engine that always breaks stops
the run instead of dropping items.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from storage.errors import LimitReached
from workflows.road import StageSpec
from workflows.schedule.ceiling import Ceiling

Care = Literal["shared", "alone", "isolated"]
"""How carefully a shard is tried: among other shards; alone on its worker; alone, item by item."""

ISOLATED_TRIES = 300
"""Deaths of a shard after which the run stops instead of dropping a further item."""


class Task(NamedTuple):
    """A try: an attempt to make a shard of a stage."""

    stage: str
    shard: int
    attempt: int
    care: Care = "shared"


class ShardExhausted(Exception):
    """A shard failed in all its tries."""

    def __init__(self, task: Task, tries: int, cause: str) -> None:
        super().__init__(f"shard {task.shard} of {task.stage} failed {tries} times: {cause}")
        self.task = task
        self.cause = cause


@dataclass(slots=True)
class _Trouble:
    """The failures of a shard. Most shards have none."""

    left_before: int
    """Shards that its stage had left at the first failure."""
    attempt: int = 0
    failures: int = 0
    deaths: int = 0
    twin: bool = False
    """A twin is running or waiting for a worker."""


class Shards:
    """Queues between the stages: a few numbers per shard."""

    def __init__(
        self,
        road: Sequence[StageSpec],
        shards: int,
        done: Mapping[str, Iterable[int]],
        window: int,
        attempts: int,
        pause: float,
        ceiling: Ceiling | None = None,
    ) -> None:
        """Plan `shards` shards over `road`; `done`: stage -> shards already committed."""
        self._names = [stage.name for stage in road]
        self._attempts = attempts
        self._pause = pause
        self._ceiling = ceiling
        self.window = window
        self.left = [0] * len(road)
        """Number of uncommitted shards, per stage."""
        self.running = [0] * len(road)
        self._ready: list[deque[int]] = [deque() for _ in road]
        self._careful: list[deque[int]] = [deque() for _ in road]
        self._unproved: list[deque[int]] = [deque() for _ in road]
        """Shards with many deaths that wait until another shard of their stage commits."""
        self._resting: list[tuple[float, int, int]] = []
        self._held = [0] * len(road)
        """Number of shards between stage i and i + 1: ready or running in i + 1."""
        self._trouble: dict[tuple[int, int], _Trouble] = {}
        self._enter(shards, done)

    def _enter(self, shards: int, done: Mapping[str, Iterable[int]]) -> None:
        committed = [frozenset(done.get(name, ())) for name in self._names]
        for shard in range(shards):
            first = next((i for i, have in enumerate(committed) if shard not in have), None)
            if first is None:
                continue
            for position in range(first, len(self._names)):
                self.left[position] += 1
            self._ready[first].append(shard)
            if first:
                self._held[first - 1] += 1

    @property
    def finished(self) -> bool:
        """Whether every shard of every stage is committed."""
        return not self.left[-1]

    def waiting(self, position: int) -> int:
        """Number of shards that wait before a stage."""
        queues = (self._ready, self._careful, self._unproved)
        return sum(len(queue[position]) for queue in queues)

    def startable(self, position: int) -> int:
        """Number of ready shards that can start: the window before the next stage has room."""
        ready = len(self._ready[position])
        if ready and self._ceiling is not None:
            ready = min(ready, self._affordable(position))
        if not ready or position + 1 == len(self._names):
            return ready
        room = self.window - self._held[position] - self.running[position]
        return max(0, min(ready, room))

    def _affordable(self, position: int) -> int:
        """Number of shards that may begin the stage under the ceiling."""
        if self._ceiling is None:
            return self.left[position]
        waiting = [self.waiting(at) for at in range(len(self._names))]
        return self._ceiling.room(position, waiting, self.running)

    def check_ceiling(self) -> None:
        """Raise LimitReached if the ceiling stops all that is left, and nothing is at work."""
        if self._ceiling is None or self.finished or any(self.running) or self._resting:
            return
        if not any(self.startable(at) or self.careful(at) for at in range(len(self._names))):
            raise LimitReached(self._ceiling.reason)

    def careful(self, position: int) -> int:
        """Number of shards that wait for a worker of their own."""
        if self._unproved[position] and not (self._ready[position] or self.running[position]):
            self._release(position)  # no other shard is left that could commit
        careful = len(self._careful[position])
        return min(careful, self._affordable(position)) if careful else 0

    def take(self, position: int) -> Task:
        """Start the next ready shard."""
        shard = self._ready[position].popleft()
        self.running[position] += 1
        trouble = self._trouble.get((position, shard)) if self._trouble else None
        if trouble is None:
            return Task(self._names[position], shard, 1)
        return self._again(position, shard, trouble)

    def take_careful(self, position: int) -> Task:
        """Start the next shard that must be alone on its worker."""
        shard = self._careful[position].popleft()
        self.running[position] += 1
        return self._again(position, shard, self._trouble[position, shard])

    def take_twin(self, position: int, shard: int) -> Task:
        """Start a twin: a second try of a running shard."""
        return self._again(position, shard, self._trouble[position, shard])

    def _again(self, position: int, shard: int, trouble: _Trouble) -> Task:
        trouble.attempt += 1
        return Task(self._names[position], shard, trouble.attempt, self._care(position, trouble))

    def _care(self, position: int, trouble: _Trouble) -> Care:
        if trouble.deaths >= self._attempts and self._others_pass(position, trouble):
            return "isolated"
        return "alone" if trouble.deaths and trouble.deaths >= self._attempts - 1 else "shared"

    def ask_twin(self, position: int, task: Task) -> bool:
        """Request a twin of a running task. Returns False if the shard has one already."""
        trouble = self._in_trouble(position, task)
        has_twin, trouble.twin = trouble.twin, True
        return not has_twin

    def forget_twin(self, position: int, shard: int) -> None:
        """The shard has a single try again."""
        trouble = self._trouble.get((position, shard))
        if trouble is not None:
            trouble.twin = False

    def commit(self, position: int, shard: int) -> None:
        """The shard is committed and becomes ready in the next stage."""
        self.running[position] -= 1
        self.left[position] -= 1
        if self._trouble:
            self._trouble.pop((position, shard), None)
            self._release(position)
        if position:
            self._held[position - 1] -= 1
        if position + 1 < len(self._names):
            self._held[position] += 1
            self._ready[position + 1].append(shard)

    def fail(self, position: int, task: Task, cause: str, now: float) -> None:
        """A try failed for a cause outside the shard. Raises ShardExhausted after `attempts`."""
        trouble = self._in_trouble(position, task)
        self.running[position] -= 1
        trouble.failures += 1
        if trouble.failures >= self._attempts:
            raise ShardExhausted(task, trouble.failures, cause)
        if self._pause:
            at = now + self._pause * 3 ** (trouble.failures - 1)
            heapq.heappush(self._resting, (at, position, task.shard))
        else:
            self._wait(position, task.shard, trouble)

    def die(self, position: int, task: Task, cause: str) -> None:
        """A try ended with the death of its worker. Raises ShardExhausted after too many."""
        trouble = self._in_trouble(position, task)
        self.running[position] -= 1
        trouble.deaths += 1
        proved = self._others_pass(position, trouble)
        if trouble.deaths >= (ISOLATED_TRIES if proved else 2 * self._attempts):
            raise ShardExhausted(task, trouble.deaths, cause)
        if trouble.deaths >= self._attempts and not proved:
            self._unproved[position].append(task.shard)
        else:
            self._wait(position, task.shard, trouble)

    def _release(self, position: int) -> None:
        self._careful[position].extend(self._unproved[position])
        self._unproved[position].clear()

    def _others_pass(self, position: int, trouble: _Trouble) -> bool:
        """Whether another shard of the stage committed since the first failure, or none is left."""
        others = self.left[position] - 1
        return self.left[position] < trouble.left_before or not others

    def _in_trouble(self, position: int, task: Task) -> _Trouble:
        trouble = self._trouble.get((position, task.shard))
        if trouble is None:
            trouble = _Trouble(self.left[position], task.attempt)
            self._trouble[position, task.shard] = trouble
        return trouble

    def _wait(self, position: int, shard: int, trouble: _Trouble) -> None:
        if self._care(position, trouble) == "shared":
            self._ready[position].appendleft(shard)
        else:
            self._careful[position].append(shard)

    def wake(self, now: float) -> None:
        """Queue the shards again whose rest is over."""
        while self._resting and self._resting[0][0] <= now:
            _, position, shard = heapq.heappop(self._resting)
            self._wait(position, shard, self._trouble[position, shard])

    @property
    def wakes_at(self) -> float | None:
        """Time at which the next rest is over; None if no shard rests."""
        return self._resting[0][0] if self._resting else None
