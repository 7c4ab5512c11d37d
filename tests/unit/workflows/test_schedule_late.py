"""The schedule when things go wrong: late tries, twins, hung workers, shards that kill, pauses."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.support.simulated_cluster import VirtualClock
from workflows.schedule.deadlines import Deadlines
from workflows.schedule.schedule import Close, Open, RolePlan, Run, Schedule, ShardExhausted, Task
from workflows.stages import ROAD


def ready(schedule: Schedule) -> list[Run]:
    """Decide until there is nothing to open or close; the tasks that were started."""
    started: list[Run] = []
    while actions := schedule.decide():
        for action in actions:
            if isinstance(action, Open):
                schedule.opened(action.worker)
            elif isinstance(action, Close):
                schedule.closed(action.worker)
            else:
                started.append(action)
    return started


def timed(clock: VirtualClock, shards: int = 2, slots: int = 3, parallel: int = 1) -> Schedule:
    roles = {"policy": RolePlan(slots=1, parallel=parallel, most=8)}
    return Schedule(
        ROAD[:1], shards, {}, roles, slots, window=8, deadlines=Deadlines(floor=10), clock=clock
    )


def test_a_late_shard_gets_a_twin_on_another_worker_and_the_first_commit_wins() -> None:
    clock = VirtualClock()
    schedule = timed(clock, shards=1, slots=2)
    [first] = ready(schedule)
    clock.now = 99
    assert ready(schedule) == []
    clock.now = 100  # ten floors, since no median is known
    [twin] = ready(schedule)
    assert (twin.task.shard, twin.worker == first.worker) == (0, False)
    assert schedule.committed(twin.worker, twin.task)
    assert schedule.finished
    assert not schedule.committed(first.worker, first.task), "the loser's reply is ignored"
    assert Close(first.worker) in schedule.decide(), "the worker that was overtaken is replaced"


def test_the_first_try_may_still_win_and_then_nobody_is_suspected() -> None:
    clock = VirtualClock()
    schedule = timed(clock, shards=1, slots=2)
    [first] = ready(schedule)
    clock.now = 100
    [twin] = ready(schedule)
    assert schedule.committed(first.worker, first.task)
    assert not schedule.failed(twin.worker, twin.task, "too late to matter")
    assert schedule.decide() == []


def test_a_worker_on_which_everything_is_late_and_that_says_nothing_is_replaced() -> None:
    clock = VirtualClock()
    schedule = timed(clock, shards=2, slots=1, parallel=2)
    hung = ready(schedule)
    assert len(hung) == 2
    clock.now = 100
    assert schedule.decide() == [], "late, but there is no room for a twin"
    clock.now = 200
    again = ready(schedule)
    assert [run.task.shard for run in again] == [0, 1]
    assert {run.worker for run in again} != {hung[0].worker}


def test_a_twin_that_hangs_after_it_lost_is_replaced_with_its_worker() -> None:
    clock = VirtualClock()
    schedule = timed(clock, shards=2, slots=2)
    first, other = ready(schedule)
    assert schedule.committed(other.worker, other.task)
    clock.now = 100
    [twin] = ready(schedule)
    assert twin.worker == other.worker
    assert schedule.committed(first.worker, first.task)  # and the twin says nothing any more
    assert schedule.wake_in == 100, "its first deadline is twice as far"
    clock.now = 200
    assert list(schedule.decide()) == []
    clock.now = 300
    assert Close(twin.worker) in schedule.decide()
    assert schedule.replaced == 1
    assert schedule.finished


def test_a_shard_taken_item_by_item_has_the_time_of_all_its_items() -> None:
    clock = VirtualClock()
    schedule = timed(clock, shards=1, slots=1)
    while True:  # it kills its worker until its items are looked at one by one
        [run] = ready(schedule)
        if run.task.care == "isolated":
            break
        schedule.broken(run.worker, "died")
    begun = clock.now
    for limits in (1, 2, 4, 8, 16, 32, 64):
        clock.now = begun + 100 * limits
        assert schedule.decide() == []
    clock.now = begun + 100 * 128
    assert Close(run.worker) in schedule.decide()


def test_a_deadline_is_a_multiple_of_the_median_with_a_floor() -> None:
    deadlines = Deadlines(floor=10, factor=3)
    assert deadlines.limit("sample") == 100
    for shard, seconds in enumerate([4, 100, 5, 6, 200]):
        task = Task("sample", shard, 1)
        deadlines.start(task, 0)
        deadlines.end(task, seconds, committed=True)
    assert deadlines.limit("sample") == 3 * 6
    assert deadlines.limit("estimate") == 100


@pytest.mark.parametrize("seed", range(10))
def test_a_shard_that_kills_its_worker_ends_up_alone_then_item_by_item(seed: int) -> None:
    print(f"seed {seed}")
    roles = {"policy": RolePlan(slots=1, parallel=4, most=2)}
    schedule = Schedule(ROAD[:1], 40, {}, roles, 2, window=8)
    poison, rand = 7, random.Random(seed)
    running: list[Run] = []
    cares: list[str] = []
    deaths: Counter[int] = Counter()
    for _ in range(10_000):
        running += ready(schedule)
        if schedule.finished:
            break
        run = running.pop(rand.randrange(len(running)))
        if run.task.shard == poison:
            cares.append(run.task.care)
        if run.task.shard == poison and run.task.care != "isolated":
            deaths.update(r.task.shard for r in [run, *running] if r.worker == run.worker)
            running = [r for r in running if r.worker != run.worker]
            assert schedule.broken(run.worker, "killed")
        else:
            assert schedule.committed(run.worker, run.task)
    assert schedule.finished
    assert cares == ["shared", "shared", "alone", "isolated"]
    assert deaths.pop(poison) == 3
    assert max(deaths.values(), default=0) <= 2, "the innocent died with it, but not to the end"


def test_an_engine_that_is_broken_for_everybody_stops_the_run_and_blames_no_item() -> None:
    roles = {"policy": RolePlan(slots=1, parallel=2, most=1)}
    schedule = Schedule(ROAD[:1], 4, {}, roles, 1, window=8)
    seen: set[str] = set()
    with pytest.raises(ShardExhausted, match="failed 6 times: the engine is broken"):
        for _ in range(100):
            for run in ready(schedule):
                seen.add(run.task.care)
                schedule.broken(run.worker, "the engine is broken")
    assert "isolated" not in seen


def test_a_failed_try_rests_longer_each_time() -> None:
    clock = VirtualClock()
    roles = {"policy": RolePlan(slots=1, parallel=1, most=1)}
    schedule = Schedule(ROAD[:1], 1, {}, roles, 1, window=8, pause=5.0, clock=clock)
    [run] = ready(schedule)
    schedule.failed(run.worker, run.task, "the store was away")
    assert ready(schedule) == []
    assert schedule.wake_in == 5
    clock.now = 5
    [run] = ready(schedule)
    schedule.failed(run.worker, run.task, "the store was away")
    assert schedule.wake_in == 15
