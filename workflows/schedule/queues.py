"""Where every shard stands on the road, and what becomes of one that fails.

A shard is waiting, running, resting after trouble, or done, stage by stage. Two kinds of trouble
are told apart. A *failed* try says nothing about the shard (the store was away): it rests and is
tried again, `attempts` times. A *death* took the worker along, and one shard may be the cause: it
is tried again among others, then alone on a worker, so that the innocent are cleared, and at last
item by item, so that the item that kills is found (`actors.workers.poison`).

Invariant: every (stage, shard) of the plan is in exactly one place; no shard is ever skipped. A
shard is taken apart only when others of its stage get through: an engine that is broken for
everybody stops the run instead of dropping items.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from workflows.road import StageSpec

Care = Literal["shared", "alone", "isolated"]
"""Among other shards; alone on its worker; alone, and its items one by one."""

ISOLATED_TRIES = 300
"""Deaths of one shard after which no further item is blamed."""


class Task(NamedTuple):
    """One try of one shard in one stage."""

    stage: str
    shard: int
    attempt: int
    care: Care = "shared"


class ShardExhausted(Exception):
    """A shard failed in every try it had."""

    def __init__(self, task: Task, tries: int, cause: str) -> None:
        super().__init__(f"shard {task.shard} of {task.stage} failed {tries} times: {cause}")
        self.task = task
        self.cause = cause


@dataclass(slots=True)
class _Trouble:
    """What a shard in trouble has been through; most shards never have any."""

    left_before: int
    """Shards that its stage had left when the trouble began."""
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
        *,
        window: int,
        attempts: int,
        pause: float,
    ) -> None:
        """Plan `shards` shards over `road`; `done` says what is committed already."""
        self._names = [stage.name for stage in road]
        self._attempts = attempts
        self._pause = pause
        self.window = window
        self.left = [0] * len(road)
        """Shards not committed, per stage."""
        self.running = [0] * len(road)
        self._ready: list[deque[int]] = [deque() for _ in road]
        self._careful: list[deque[int]] = [deque() for _ in road]
        self._unproved: list[deque[int]] = [deque() for _ in road]
        """Killers, it seems, that wait for another shard of their stage to get through."""
        self._resting: list[tuple[float, int, int]] = []
        self._held = [0] * len(road)
        """Shards between stage i and i + 1: ready or running in i + 1."""
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
        """Every shard of every stage is committed."""
        return not self.left[-1]

    def waiting(self, position: int) -> int:
        """Shards that wait before a stage."""
        queues = (self._ready, self._careful, self._unproved)
        return sum(len(queue[position]) for queue in queues)

    def startable(self, position: int) -> int:
        """Ready shards whose output there is still room for."""
        ready = len(self._ready[position])
        if not ready or position + 1 == len(self._names):
            return ready
        room = self.window - self._held[position] - self.running[position]
        return max(0, min(ready, room))

    def careful(self, position: int) -> int:
        """Shards that wait for a worker of their own."""
        if self._unproved[position] and not (self._ready[position] or self.running[position]):
            self._release(position)  # nobody else is left to ask
        return len(self._careful[position])

    def take(self, position: int) -> Task:
        """The next ready shard, now running."""
        shard = self._ready[position].popleft()
        self.running[position] += 1
        trouble = self._trouble.get((position, shard)) if self._trouble else None
        if trouble is None:
            return Task(self._names[position], shard, 1)
        return self._again(position, shard, trouble)

    def take_careful(self, position: int) -> Task:
        """The next shard that must be alone on its worker, now running."""
        shard = self._careful[position].popleft()
        self.running[position] += 1
        return self._again(position, shard, self._trouble[position, shard])

    def take_twin(self, position: int, shard: int) -> Task:
        """A second try of a shard that runs already."""
        return self._again(position, shard, self._trouble[position, shard])

    def _again(self, position: int, shard: int, trouble: _Trouble) -> Task:
        trouble.attempt += 1
        return Task(self._names[position], shard, trouble.attempt, self._care(position, trouble))

    def _care(self, position: int, trouble: _Trouble) -> Care:
        if trouble.deaths >= self._attempts and self._others_pass(position, trouble):
            return "isolated"
        return "alone" if trouble.deaths and trouble.deaths >= self._attempts - 1 else "shared"

    def ask_twin(self, position: int, task: Task) -> bool:
        """Whether a twin of a running task should be started: one at a time."""
        trouble = self._in_trouble(position, task)
        asked, trouble.twin = trouble.twin, True
        return not asked

    def forget_twin(self, position: int, shard: int) -> None:
        """The shard has one try again."""
        trouble = self._trouble.get((position, shard))
        if trouble is not None:
            trouble.twin = False

    def commit(self, position: int, shard: int) -> None:
        """The shard moves on."""
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
        """A try ended without a commit through no fault of the shard. Raises ShardExhausted."""
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
        """A try ended with its worker. Raises ShardExhausted."""
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
        """Whether the stage works for others, as far as there are any to ask."""
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
        """Let shards that have rested long enough wait again."""
        while self._resting and self._resting[0][0] <= now:
            _, position, shard = heapq.heappop(self._resting)
            self._wait(position, shard, self._trouble[position, shard])

    @property
    def wakes_at(self) -> float | None:
        """When the next resting shard is tried again."""
        return self._resting[0][0] if self._resting else None
