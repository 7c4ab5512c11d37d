"""How long a shard may take: a multiple of its stage's median time. Callers pass the time.

A task is late when its limit has passed, and again at 2, 4, 8 times the limit. The schedule
decides what to do then. The first shards to finish are the fast ones, so in the limit's median a
running shard counts as longer than any ended one. While that median is unknown, the limit is
`UNKNOWN` floors.

Invariant: safety does not depend on limits: one that is too short costs work, never a row. A call
looks only at the oldest task of each (stage, times late), so its cost is independent of the rest.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from math import inf
from typing import NamedTuple

from workflows.schedule.queues import Task

REMEMBERED = 63
"""Number of last finished shards that a stage's median is taken of."""
ENOUGH = 3
UNKNOWN = 10
"""The limit, in floors, while a stage's median is unknown."""
ONE_BY_ONE = 7
"""How often a shard whose items are tried one by one can be late before its worker counts as hung.
The limit doubles each time: 128 limits, as every single item may take as long as a whole shard."""


class Late(NamedTuple):
    """A task that runs past its limit for the `times`-th time."""

    task: Task
    times: int
    seconds: float
    """Time since the start."""


class Pace:
    """The median seconds of the last shards of one stage."""

    def __init__(self) -> None:
        self.running = 0
        """Number of shards that run."""
        self._ended = 0
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    def note(self, seconds: float) -> None:
        """Add the time of a finished shard."""
        self._ended += 1
        self._order.append(seconds)
        insort(self._sorted, seconds)
        if len(self._order) > REMEMBERED:
            del self._sorted[bisect_left(self._sorted, self._order.popleft())]

    @property
    def median(self) -> float | None:
        """Median seconds of finished shards; None while fewer than `ENOUGH` are known."""
        known = len(self._sorted)
        return self._sorted[known // 2] if known >= ENOUGH else None

    @property
    def median_of_all(self) -> float | None:
        """The median with running shards counted as the longest; None if it is one of these."""
        known, place = len(self._sorted), (self._ended + self.running) // 2
        if known < ENOUGH or place >= self._ended:
            return None
        return self._sorted[place * known // self._ended]


class Deadlines:
    """Limits and lateness of the running tasks."""

    def __init__(self, floor: float = 600.0, factor: float = 5.0) -> None:
        """A limit is `factor` medians, and at least `floor` seconds."""
        self._floor = floor
        self._factor = factor
        self._paces: dict[str, Pace] = {}
        self._running: dict[tuple[str, int], OrderedDict[Task, float]] = {}
        self._times: dict[Task, int] = {}
        """Late task -> how often it was late."""
        self._next = inf
        """The earliest time at which a task can become late."""

    def start(self, task: Task, now: float) -> None:
        """A task starts at time `now`."""
        queue = self._queue(task.stage, 0)
        if not queue:
            self._next = min(self._next, now + self.limit(task.stage))
        queue[task] = now
        self._pace(task.stage).running += 1

    def end(self, task: Task, now: float, committed: bool) -> None:
        """A task ends at time `now`; ignored if it is unknown."""
        times = self._times.pop(task, 0) if self._times else 0
        started = self._queue(task.stage, times).pop(task, None)
        if started is None:
            return
        pace = self._pace(task.stage)
        pace.running -= 1
        if committed:
            pace.note(now - started)
        self._next = min(self._next, self._first_due(task.stage))  # its limit may be shorter now

    def median(self, stage: str) -> float | None:
        """Median seconds of the stage's last shards; None while too few are known."""
        return self._pace(stage).median

    def usual(self, stages: Sequence[str]) -> list[float]:
        """The medians of stages, in seconds; an unknown one is the mean of the known ones, or 1."""
        known = [self.median(stage) for stage in stages]
        told = [seconds for seconds in known if seconds]
        unknown = sum(told) / len(told) if told else 1.0
        return [seconds or unknown for seconds in known]

    def limit(self, stage: str) -> float:
        """Seconds that a shard of the stage may take."""
        median = self._pace(stage).median_of_all
        if median is None:
            return self._floor * UNKNOWN
        return max(self._floor, self._factor * median)

    def is_late(self, task: Task) -> bool:
        """Whether the task has run past its limit."""
        return task in self._times

    def late(self, now: float) -> Iterator[Late]:
        """Tasks that became late since the last call."""
        if now < self._next:
            return
        for (stage, times), queue in list(self._running.items()):
            while queue:
                task, started = next(iter(queue.items()))
                if started + self.limit(stage) * 2**times > now:
                    break
                del queue[task]
                self._times[task] = times + 1
                self._queue(stage, times + 1)[task] = started
                yield Late(task, times + 1, now - started)
        self._next = min(map(self._first_due, self._paces), default=inf)

    @property
    def due_at(self) -> float | None:
        """The earliest time at which a task can become late; None if nothing runs."""
        return None if self._next == inf else self._next

    def _first_due(self, stage: str) -> float:
        due, limit, times = inf, self.limit(stage), 0
        while (queue := self._running.get((stage, times))) is not None:
            if queue:
                due = min(due, next(iter(queue.values())) + limit * 2**times)
            times += 1
        return due

    def _pace(self, stage: str) -> Pace:
        pace = self._paces.get(stage)
        if pace is None:
            pace = self._paces[stage] = Pace()
        return pace

    def _queue(self, stage: str, times: int) -> OrderedDict[Task, float]:
        queue = self._running.get((stage, times))
        if queue is None:
            queue = self._running[stage, times] = OrderedDict()
        return queue
