"""Workers that die idle and workers that never come up, as the driver sees them, without Ray."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from storage.errors import RunStopped, WorkerLost
from storage.runs.commits import Receipt
from workflows.road import StageSpec
from workflows.schedule.attendance import LONGEST_PAUSE_S, Attendance
from workflows.schedule.driver import Driver
from workflows.schedule.events import Happened
from workflows.schedule.schedule import RolePlan, Schedule

ESTIMATE = (StageSpec("estimate", "completer", ("problems",)),)
SAMPLE_AND_ESTIMATE = (
    StageSpec("sample", "policy", ("problems",)),
    StageSpec("estimate", "completer", ("problems", "sample")),
)
PATIENCE_S = 60.0
"""Far more than a test takes, and far less than a pause that it must not wait for."""


class Nodes:
    """Workers that die together; the dead are found without anything running on them."""

    def __init__(self) -> None:
        self.roles: dict[int, str] = {}
        self.dead: dict[int, WorkerLost] = {}
        self.found: dict[int, WorkerLost] = {}
        self.runs: list[tuple[int, str, int]] = []
        self.isolated: list[int] = []
        self.sampling = asyncio.Event()
        self.sampling.set()

    async def open(self, worker: int, role: str) -> None:
        await asyncio.sleep(0)
        self.roles[worker] = role

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        self.runs.append((worker, stage, shard))
        await asyncio.sleep(0)
        if stage == "sample":
            await self.sampling.wait()
        if worker in self.dead:
            raise self.dead[worker]
        return Receipt(stage, shard, 1, 1, "digest", "attempt", True)

    async def isolate(self, worker: int, stage: str, shard: int) -> Receipt:
        self.isolated.append(shard)
        return await self.run(worker, stage, shard)

    async def close(self, worker: int) -> None:
        self.roles.pop(worker, None)

    def die(self, workers: list[int]) -> None:
        for worker in workers:
            self.dead[worker] = self.found[worker] = WorkerLost(f"worker {worker}: its node died")

    def found_dead(self) -> dict[int, WorkerLost]:
        found, self.found = self.found, {}
        return found


class Loading:
    """Workers of one role that are up when `come` lets them; each one's number is its turn."""

    def __init__(self, come: Callable[[int], bool]) -> None:
        self.come = come
        self.opened: list[int] = []
        self.wait: dict[int, asyncio.Event] = {}
        self.committed: Counter[int] = Counter()

    async def open(self, worker: int, role: str) -> None:
        self.opened.append(worker)
        if worker in self.wait:
            await self.wait[worker].wait()
        await asyncio.sleep(0)
        if not self.come(worker):
            raise WorkerLost(f"worker {worker}: uncorrectable ECC error")

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        await asyncio.sleep(0)
        self.committed[shard] += 1
        return Receipt(stage, shard, 1, 1, "digest", "attempt", True)

    isolate = run

    async def close(self, worker: int) -> None:
        pass


def estimating(shards: int, slots: int) -> Schedule:
    roles = {"completer": RolePlan(slots=1, parallel=2, most=8)}
    return Schedule(ESTIMATE, shards, {}, roles, slots=slots, window=64)


async def test_a_shard_is_not_given_to_idle_workers_whose_node_died() -> None:
    cluster = Nodes()
    cluster.sampling.clear()
    events: list[Happened] = []
    estimated: list[int] = []

    def watch(event: Happened) -> None:
        events.append(event)
        if event.what == "committed" and event.task is not None and event.role == "completer":
            estimated.append(event.task.shard)
            if len(estimated) == 20:  # all are idle now, and the policy makes the next shard
                cluster.die([w for w, role in cluster.roles.items() if role == "completer"])
                cluster.sampling.set()

    roles = {"policy": RolePlan(1, 1, most=1), "completer": RolePlan(1, 1, most=8)}
    done = {"sample": range(20)}
    schedule = Schedule(SAMPLE_AND_ESTIMATE, 40, done, roles, slots=9, window=64)
    await Driver(schedule, cluster, watch).drive()
    lost = [event for event in events if event.what == "lost"]
    assert len(lost) == len(cluster.dead) == 8
    assert all(event.task is None and "its node died" in event.cause for event in lost)
    assert (
        max(Counter(shard for _, stage, shard in cluster.runs if stage == "estimate").values()) == 1
    )
    assert not cluster.isolated


async def test_a_death_that_is_found_and_told_by_its_runs_counts_once() -> None:
    cluster = Nodes()
    cluster.sampling.clear()
    events: list[Happened] = []

    def watch(event: Happened) -> None:
        events.append(event)
        if event.what == "started" and len(cluster.dead) == 0:
            cluster.die([0])
            cluster.sampling.set()

    roles = {"policy": RolePlan(slots=1, parallel=2, most=1)}
    schedule = Schedule(SAMPLE_AND_ESTIMATE[:1], 4, {}, roles, slots=1, window=64)
    await Driver(schedule, cluster, watch).drive()
    assert [event.what for event in events].count("lost") == 1
    tries = Counter(shard for _, _, shard in cluster.runs)
    assert tries == Counter({0: 2, 1: 2, 2: 1, 3: 1})


async def test_a_node_lost_while_its_workers_load_a_model_does_not_stop_the_others() -> None:
    cluster = Loading(lambda worker: not 4 <= worker < 8)
    lost = asyncio.Event()
    cluster.wait = {worker: lost for worker in range(4, 8)}
    events: list[Happened] = []

    def watch(event: Happened) -> None:
        events.append(event)
        if event.what == "committed":
            lost.set()

    async with asyncio.timeout(PATIENCE_S):
        await Driver(estimating(60, slots=8), cluster, watch, pause=3600).drive()
    assert set(cluster.committed) == set(range(60))
    said = [event.cause for event in events if event.what == "lost"]
    assert len(said) == 4
    assert all("tried again in 600 s" in cause for cause in said)


async def test_a_gpu_that_fails_early_waits_for_the_others_of_its_role_to_come_up() -> None:
    cluster = Loading(lambda worker: worker == 1)
    cluster.wait = {1: asyncio.Event()}

    def watch(event: Happened) -> None:
        if len(cluster.opened) == 8:  # the other GPU was tried again and again
            cluster.wait[1].set()

    async with asyncio.timeout(PATIENCE_S):
        await Driver(estimating(20, slots=2), cluster, watch, pause=1e-6).drive()
    assert set(cluster.committed) == set(range(20))


async def test_a_slot_that_was_left_alone_is_tried_at_once_when_nobody_else_is_left() -> None:
    cluster = Loading(lambda worker: worker != 1)
    run = cluster.run
    killed: list[int] = []

    async def die_once(worker: int, stage: str, shard: int) -> Receipt:
        if len(cluster.committed) == 10 and not killed:
            killed.append(worker)
        if worker in killed:
            raise WorkerLost("its node died")
        return await run(worker, stage, shard)

    cluster.run = cluster.isolate = die_once  # type: ignore[method-assign]
    async with asyncio.timeout(PATIENCE_S):
        await Driver(estimating(40, slots=2), cluster, lambda event: None, pause=3600).drive()
    assert killed == [0]
    assert cluster.opened == [0, 1, 2, 3]


async def test_a_model_that_nobody_can_load_still_stops_the_run() -> None:
    cluster = Loading(lambda worker: False)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(RunStopped, match=r"completer could not be started: .*ECC error"):
            await Driver(estimating(20, slots=8), cluster, lambda e: None, pause=3600).drive()
    assert len(cluster.opened) == 8


def test_a_slot_that_fails_again_and_again_is_left_alone_longer_each_time() -> None:
    attendance = Attendance(pause=5.0)
    attendance.coming.add(0)
    attendance.came(0)
    waits = []
    for worker in range(1, 1_000):
        attendance.coming.add(worker)
        waits.append(attendance.failed(worker))
    assert waits[:6] == [5, 15, 45, 135, 405, LONGEST_PAUSE_S]
    assert set(waits[6:]) == {LONGEST_PAUSE_S}


def test_workers_that_fail_together_are_one_round() -> None:
    attendance = Attendance(pause=5.0)
    attendance.coming |= {0, 1, 2, 3, 4}
    attendance.came(0)
    assert [attendance.failed(worker) for worker in (2, 1, 4, 3)] == [5, 5, 5, 5]
    attendance.coming.add(5)
    assert attendance.failed(5) == 15


def test_failures_beside_others_do_not_count_once_those_have_left() -> None:
    attendance = Attendance(pause=5.0)
    attendance.coming.add(0)
    attendance.came(0)
    for worker in range(1, 6):
        attendance.coming.add(worker)
        assert attendance.failed(worker)
    attendance.went(0)  # it gave way to another role
    assert attendance.nobody.is_set()
    for worker in (6, 7):
        attendance.coming.add(worker)
        assert attendance.failed(worker) == 0
    attendance.coming.add(8)
    assert attendance.failed(8) is None


def test_a_worker_that_was_told_to_go_before_it_came_up_counts_as_nothing() -> None:
    attendance = Attendance(pause=5.0)
    attendance.coming.add(0)
    attendance.went(0)
    assert attendance.failed(0) == 0
    attendance.came(0)
    assert attendance.nobody.is_set()
