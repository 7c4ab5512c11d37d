"""The driver on nodes whose GPUs others hold, or that come later, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Mapping

import pytest

from storage.errors import RunStopped, WorkerLost
from storage.runs.commits import Receipt
from tests.support.virtual_time import run_virtually
from workflows.road import StageSpec
from workflows.schedule.beginning import UnbegunSchedule
from workflows.schedule.driver import Driver
from workflows.schedule.events import Happened
from workflows.schedule.nodes import ENGINES
from workflows.schedule.schedule import RolePlan, Schedule

ROAD = (StageSpec("judge", "large", ("problems",)),)
Slots = Mapping[str, Mapping[str, int]]
MINUTE, HOUR = 60.0, 3600.0


class Nodes:
    """Nodes with so many free GPUs at an hour; a worker waits for its own, and then loads."""

    def __init__(self, free: Callable[[float], Mapping[str, int]], load_s: float = MINUTE) -> None:
        self.free = free
        self.load_s = load_s
        self.at: dict[int, str] = {}
        self.wait: dict[int, asyncio.Event] = {}
        self.committed: Counter[int] = Counter()

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def slots(self) -> Slots:
        """What is free, and what is held here."""
        there = dict(self.free(self.now()))
        for node in self.at.values():
            there[node] = there.get(node, 0) + 4
        return {ENGINES: there}

    async def open(self, worker: int, role: str) -> None:
        raise AssertionError("it is told where")

    async def open_on(
        self, worker: int, role: str, node: str, placed: Callable[[str], None]
    ) -> None:
        closed = self.wait[worker] = asyncio.Event()
        while self.free(self.now()).get(node, 0) < 4:
            if closed.is_set():
                raise WorkerLost("closed before it had a place")
            await asyncio.sleep(1)
        del self.wait[worker]
        self.at[worker] = node
        placed(node)
        await asyncio.sleep(self.load_s)

    def waiting(self) -> Collection[int]:
        return self.wait.keys()

    def shortage(self, roles: Collection[str]) -> str:
        return f"{', '.join(roles)} need 4 GPUs"

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        await asyncio.sleep(MINUTE)
        self.committed[shard] += 1
        return Receipt(stage, shard, 1, 1, "digest", "attempt", True)

    isolate = run

    async def close(self, worker: int) -> None:
        self.at.pop(worker, None)
        if worker in self.wait:
            self.wait.pop(worker).set()


def drive(cluster: Nodes, patience: float = 30 * MINUTE) -> tuple[float, list[Happened]]:
    """Virtual seconds that a run of 4 shards took, and what happened."""
    events: list[Happened] = []

    async def main() -> float:
        clock = asyncio.get_running_loop().time
        roles = {"large": RolePlan(slots=4, parallel=1, most=1)}
        schedule = Schedule(ROAD, 4, {}, roles, cluster.slots(), window=8, clock=clock, pause=1.0)
        driver = Driver(
            schedule, cluster, events.append, slots_now=cluster.slots, place_patience_s=patience
        )
        try:
            await driver.drive()
        finally:
            events.append(Happened("ended", cause=f"{clock():.0f}"))
        return clock()

    return run_virtually(main()), events


def test_gpus_that_come_after_a_while_are_waited_for_and_used() -> None:
    cluster = Nodes(lambda now: {"a": 4} if now > 20 * MINUTE else {"a": 3, "b": 1})
    seconds, _ = drive(cluster)
    assert cluster.committed == Counter(range(4))
    assert 25 * MINUTE < seconds < 26 * MINUTE


def test_a_run_that_finds_no_place_stops_after_its_patience_and_says_what_is_missing() -> None:
    cluster = Nodes(lambda now: {"a": 3, "b": 1})
    with pytest.raises(RunStopped) as stopped:
        drive(cluster)
    assert str(stopped.value) == "no engine found a place in 30 minutes: large need 4 GPUs"


def test_a_place_that_another_job_took_first_is_waited_for_as_long() -> None:
    cluster = Nodes(lambda now: {"a": 0})
    polls = itertools.count()  # Ray says a little late what is gone, and is mistaken again
    cluster.slots = lambda: {ENGINES: {"a": 4 * (next(polls) % 3 > 0)}}  # type: ignore[method-assign]
    with pytest.raises(RunStopped, match="no engine found a place in 45 seconds"):
        drive(cluster, patience=45)
    assert not cluster.wait, "nothing is left waiting"


def test_a_model_that_loads_for_hours_has_its_place() -> None:
    cluster = Nodes(lambda now: {"a": 4}, load_s=5 * HOUR)
    seconds, _ = drive(cluster)
    assert seconds > 5 * HOUR


def test_a_pause_before_a_worker_is_tried_again_is_no_waiting_for_a_place() -> None:
    cluster = Nodes(lambda now: {"a": 4})
    opened = cluster.open_on
    tries = 0

    async def fail_first(*at: object) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise WorkerLost("uncorrectable ECC error")
        await opened(*at)  # type: ignore[arg-type]

    cluster.open_on = fail_first  # type: ignore[method-assign, assignment]
    drive(cluster, patience=2)
    assert cluster.committed == Counter(range(4))


@pytest.mark.parametrize(
    ("free_after", "begins"),
    [(0.0, 2 * MINUTE), (10 * MINUTE, 2 * MINUTE)],
    ids=["both have room", "others hold the second one's"],
)
def test_a_run_begins_when_its_first_engines_are_open_or_wait_for_gpus_that_others_hold(
    free_after: float, begins: float
) -> None:
    begun: list[float] = []
    both = {"a": 4, "b": 4}
    road = (*ROAD, StageSpec("check", "small", ("judge",)))
    there = {ENGINES: both}

    async def main() -> None:
        clock = asyncio.get_running_loop().time

        def free(now: float) -> Mapping[str, int]:
            """All of both nodes; then what the first worker left is others' for a while."""
            mine = dict.fromkeys(cluster.at.values(), 4)
            return both if now >= free_after or not mine else mine

        cluster = Nodes(free)
        roles = {role: RolePlan(slots=4, parallel=1, most=1) for role in ("large", "small")}
        schedule = UnbegunSchedule(road, 4, {}, roles, there, window=8, clock=clock, pause=1.0)
        await Driver(
            schedule, cluster, lambda event: None, slots_now=lambda: there,
            begin=lambda: begun.append(clock()),
        ).drive()  # fmt: skip
        assert cluster.committed == Counter({shard: 2 for shard in range(4)})

    run_virtually(main())
    (at,) = begun
    assert begins <= at <= begins + 10
