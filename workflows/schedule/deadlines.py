"""How long a shard may take: a multiple of its stage's median, by a clock that is given.

A task is late when its limit has passed, again at twice that, four times, and so on; what follows
from it is the schedule's to decide. Whatever finishes first is fast, so that for the median those
that still run count as longer than any that ended; while that leaves it unknown, the limit is
`UNKNOWN` floors.

Invariant: nothing here is safety: a limit that is too short costs work, never a row. Asking costs
the same whatever runs: only the oldest task of each (stage, times late) is looked at.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from math import inf
from typing import NamedTuple

from workflows.schedule.queues import Task

REMEMBERED = 63
"""Finished shards whose seconds make up the median of a stage."""
ENOUGH = 3
UNKNOWN = 10
"""Floors that a shard may take while its stage's median is not known."""
ONE_BY_ONE = 7
"""How often a shard whose items are tried one by one may be late before its worker is taken for
hung. A limit is some medians of whole shards, and doubles each time: 128 limits, for an item alone
takes at most as long as a shard."""


class Late(NamedTuple):
    """A task that runs past its limit for the `times`-th time."""

    task: Task
    times: int
    seconds: float
    """Since it was started."""


class Pace:
    """The median seconds of the last shards of one stage."""

    def __init__(self) -> None:
        self.running = 0
        """Shards that have not ended yet."""
        self._ended = 0
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    def note(self, seconds: float) -> None:
        """A shard took this long."""
        self._ended += 1
        self._order.append(seconds)
        insort(self._sorted, seconds)
        if len(self._order) > REMEMBERED:
            del self._sorted[bisect_left(self._sorted, self._order.popleft())]

    @property
    def median(self) -> float | None:
        """None while too few are known."""
        known = len(self._sorted)
        return self._sorted[known // 2] if known >= ENOUGH else None

    @property
    def median_of_all(self) -> float | None:
        """The same where those that run are longer than any that ended; None where one of them
        would be the median.
        """
        known, place = len(self._sorted), (self._ended + self.running) // 2
        if known < ENOUGH or place >= self._ended:
            return None
        return self._sorted[place * known // self._ended]


class Deadlines:
    """The clock's side of the tasks that run."""

    def __init__(self, floor: float = 600.0, factor: float = 5.0) -> None:
        """A limit is `factor` medians, and never less than `floor` seconds."""
        self._floor = floor
        self._factor = factor
        self._paces: dict[str, Pace] = {}
        self._running: dict[tuple[str, int], OrderedDict[Task, float]] = {}
        self._times: dict[Task, int] = {}
        """How often a task has been late; most never are."""
        self._next = inf
        """Nothing is late before."""

    def start(self, task: Task, now: float) -> None:
        """The task runs from now on."""
        queue = self._queue(task.stage, 0)
        if not queue:
            self._next = min(self._next, now + self.limit(task.stage))
        queue[task] = now
        self._pace(task.stage).running += 1

    def end(self, task: Task, now: float, committed: bool) -> None:
        """The task runs no longer."""
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
        """The medians of stages; where one is not known, the mean of those that are."""
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
        """Tasks that became late since the last question."""
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
        """When to ask again; nothing is late before, and perhaps not then."""
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
