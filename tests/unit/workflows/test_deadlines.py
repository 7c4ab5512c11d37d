"""When a shard is late: by the median of all that were started, not of those that ended first."""

from __future__ import annotations

import pytest

from workflows.schedule.deadlines import ENOUGH, UNKNOWN, Deadlines
from workflows.schedule.queues import Task

FLOOR, FACTOR = 10.0, 5.0


def task(shard: int) -> Task:
    return Task("sample", shard, 0)


def started(count: int) -> Deadlines:
    deadlines = Deadlines(FLOOR, FACTOR)
    for shard in range(count):
        deadlines.start(task(shard), 0.0)
    return deadlines


@pytest.mark.parametrize(
    ("running", "ended", "limit"),
    [
        pytest.param(0, ENOUGH - 1, FLOOR * UNKNOWN, id="too few ended"),
        pytest.param(9, 3, FLOOR * UNKNOWN, id="most still run: whatever ended first is fast"),
        pytest.param(4, 4, FLOOR * UNKNOWN, id="as many run as ended"),
        pytest.param(3, 5, FACTOR * 105, id="the fifth of eight"),
        pytest.param(0, 5, FACTOR * 103, id="all ended: their median"),
    ],
)
def test_shards_that_still_run_count_as_longer_than_any_that_ended(
    running: int, ended: int, limit: float
) -> None:
    deadlines = started(running + ended)
    for shard in range(ended):
        deadlines.end(task(shard), 101.0 + shard, committed=True)
    assert deadlines.limit("sample") == limit


def test_many_that_run_weigh_little_against_many_more_that_ended() -> None:
    deadlines = started(20)
    for shard in range(20, 2_020):
        deadlines.start(task(shard), 0.0)
        deadlines.end(task(shard), 100.0 + shard % 2, committed=True)
    assert deadlines.limit("sample") in (FACTOR * 100, FACTOR * 101)


def test_a_try_that_failed_says_nothing_of_how_long_one_takes() -> None:
    deadlines = started(6)
    for shard in range(5):
        deadlines.end(task(shard), 1.0, committed=False)
    assert deadlines.limit("sample") == FLOOR * UNKNOWN
    assert [late.task for late in deadlines.late(FLOOR * UNKNOWN)] == [task(5)]
    assert deadlines.is_late(task(5))
    deadlines.end(task(5), 200.0, committed=True)
    assert not deadlines.is_late(task(5))
    assert list(deadlines.late(1e9)) == []


def test_a_shard_that_hangs_is_looked_at_as_soon_as_the_others_say_how_long_one_takes() -> None:
    deadlines = started(9)
    assert deadlines.due_at == FLOOR * UNKNOWN
    for shard in range(8):
        deadlines.end(task(shard), 2.0, committed=True)
    assert deadlines.due_at == FLOOR
    assert list(deadlines.late(FLOOR - 0.1)) == []
    assert [late.task for late in deadlines.late(FLOOR)] == [task(8)]
    assert deadlines.due_at == 2 * FLOOR
