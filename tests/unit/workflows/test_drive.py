"""The driver's loop on clusters that fail in every way, without Ray."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import pytest

from storage.errors import (
    ConfigurationError,
    EngineFailed,
    InfrastructureError,
    RunStopped,
    StoreRefused,
    StoreUnavailable,
    WorkerLost,
)
from storage.runs.commits import Receipt
from workflows.schedule import driver as drive
from workflows.schedule.driver import Driver
from workflows.schedule.events import Happened
from workflows.schedule.schedule import RolePlan, Schedule
from workflows.schedule.tolerance import Tolerance
from workflows.stages import MODEL_ROLES, ROAD, STAGE_NAMES

ROLES = {
    **{role: RolePlan(slots=1, parallel=3, most=4) for role in MODEL_ROLES},
    "cpu": RolePlan(slots=0, parallel=3, most=1),
}


class FakeCluster:
    """Commits at once, or raises what `trouble` says for a try."""

    def __init__(self, seed: int = 0, share: float = 0.0, error: Exception | None = None) -> None:
        self.random = random.Random(seed)
        self.share = share
        self.error = error
        self.committed: Counter[tuple[str, int]] = Counter()
        self.alive: set[int] = set()
        self.open_error: Exception | None = None

    async def open(self, worker: int, role: str) -> None:
        await asyncio.sleep(0)
        if self.open_error is not None:
            raise self.open_error
        self.alive.add(worker)

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        for _ in range(self.random.randrange(3)):
            await asyncio.sleep(0)
        if worker not in self.alive:
            raise WorkerLost("gone")
        if self.error is not None and self.random.random() < self.share:
            if isinstance(self.error, WorkerLost):
                self.alive.discard(worker)
            raise self.error
        self.committed[stage, shard] += 1
        return Receipt(stage, shard, 1, 1, "digest", "attempt", True)

    async def close(self, worker: int) -> None:
        self.alive.discard(worker)


class HungryCluster(FakeCluster):
    """Workers whose engines never have enough, and shards that end when all have begun."""

    def __init__(self) -> None:
        super().__init__()
        self.in_flight = 0
        self.most = 0

    async def hungry(self, worker: int) -> None:
        await asyncio.sleep(0)

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        for _ in range(200):
            await asyncio.sleep(0)
        self.in_flight -= 1
        return await super().run(worker, stage, shard)


async def test_a_worker_whose_engine_runs_dry_is_given_more_shards_up_to_the_most() -> None:
    roles = {
        "policy": RolePlan(slots=1, parallel=2, most=1, most_parallel=5),
        "cpu": RolePlan(slots=0, parallel=1, most=1),
    }
    cluster = HungryCluster()
    road = [stage for stage in ROAD if stage.role == "policy"]
    schedule = Schedule(road, 12, {}, roles, slots=1, window=12)
    await Driver(schedule, cluster, lambda event: None).drive()
    assert cluster.most == 5
    assert cluster.committed == Counter({("sample", shard): 1 for shard in range(12)})
    assert not cluster.alive


def make(cluster: FakeCluster, attempts: int = 3, slots: int = 2) -> tuple[Driver, list[Happened]]:
    events: list[Happened] = []
    schedule = Schedule(ROAD, 12, {}, ROLES, slots=slots, window=6, attempts=attempts)
    return Driver(schedule, cluster, events.append), events


async def test_a_calm_run_commits_every_shard_of_every_stage_and_closes_every_worker() -> None:
    cluster = FakeCluster()
    driver, events = make(cluster)
    await driver.drive()
    assert cluster.committed == Counter({(s, i): 1 for s in STAGE_NAMES for i in range(12)})
    assert not cluster.alive
    assert sum(event.what == "committed" for event in events) == 12 * len(STAGE_NAMES)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "error", [StoreUnavailable("down"), EngineFailed("dead"), WorkerLost("killed")], ids=str
)
async def test_infrastructure_trouble_is_tried_again(error: Exception, seed: int) -> None:
    print(f"seed {seed}")
    cluster = FakeCluster(seed, share=0.1, error=error)
    driver, _ = make(cluster, attempts=10**6)
    await driver.drive()
    assert set(cluster.committed) == {(s, i) for s in STAGE_NAMES for i in range(12)}
    assert not cluster.alive


async def test_what_three_tries_do_not_get_past_stops_the_run_and_says_what_it_was() -> None:
    cluster = FakeCluster(share=1.0, error=StoreUnavailable("the store is down"))
    driver, _ = make(cluster)
    with pytest.raises(RunStopped, match=r"sample failed 3 times: .*the store is down"):
        await driver.drive()
    assert not cluster.alive


@pytest.mark.parametrize("error", [StoreRefused("no"), ConfigurationError("bad folder")], ids=str)
async def test_what_no_retry_can_mend_stops_the_run_at_once(error: Exception) -> None:
    cluster = FakeCluster(share=1.0, error=error)
    driver, _ = make(cluster)
    with pytest.raises(type(error)):
        await driver.drive()
    assert not cluster.alive


async def test_a_model_that_can_not_be_loaded_stops_the_run_with_the_cause() -> None:
    cluster = FakeCluster()
    cluster.open_error = WorkerLost("out of memory")
    driver, _ = make(cluster)
    with pytest.raises(RunStopped, match="policy could not be started: out of memory"):
        await driver.drive()


async def test_a_role_that_needs_more_slots_than_there_are_is_said_so() -> None:
    driver, _ = make(FakeCluster(), slots=0)
    with pytest.raises(RunStopped, match="more engine slots"):
        await driver.drive()


async def test_a_role_may_fail_to_come_up_now_and_then_in_a_run_of_days(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each loss is counted, also that of a worker that was still opening."""
    losses: list[str] = []
    monkeypatch.setattr("workflows.schedule.driver.count", lambda name, *rest: losses.append(name))
    cluster = FakeCluster(seed=1, share=0.2, error=WorkerLost("node gone"))
    opened: Counter[str] = Counter()

    async def open_or_not(worker: int, role: str) -> None:
        opened[role] += 1
        if opened[role] % 2:
            raise WorkerLost("no room")
        cluster.alive.add(worker)

    cluster.open = open_or_not  # type: ignore[method-assign]
    driver, events = make(cluster, attempts=10**6)
    await driver.drive()
    lost = sum(event.what == "lost" for event in events)
    assert losses.count("stepmill_worker_losses") == lost >= 4
    assert max(opened.values()) > 3
    assert set(cluster.committed) == {(s, i) for s in STAGE_NAMES for i in range(12)}


async def test_a_shard_that_kills_every_worker_is_made_item_by_item_and_the_run_goes_on() -> None:
    cluster = FakeCluster()
    isolated: list[tuple[str, int]] = []
    run = cluster.run

    async def kill(worker: int, stage: str, shard: int) -> Receipt:
        if (stage, shard) == ("estimate", 3):
            cluster.alive.discard(worker)
            raise WorkerLost("out of memory")
        return await run(worker, stage, shard)

    async def isolate(worker: int, stage: str, shard: int) -> Receipt:
        isolated.append((stage, shard))
        return await run(worker, stage, shard)

    cluster.run = kill  # type: ignore[method-assign]
    cluster.isolate = isolate  # type: ignore[attr-defined]
    driver, events = make(cluster)
    await driver.drive()
    assert isolated == [("estimate", 3)]
    assert sum(event.what == "lost" for event in events) == 3
    assert cluster.committed == Counter({(s, i): 1 for s in STAGE_NAMES for i in range(12)})


async def test_a_run_stops_when_trouble_drops_more_than_its_share_of_items() -> None:
    cluster = FakeCluster()

    async def drop(worker: int, stage: str, shard: int) -> Receipt:
        drops = {"exception": 3, "all_correct": 3} if stage == "sample" else {}
        return Receipt(stage, shard, 4, 1, "d", "a", True, drops, {"items": 10})

    cluster.run = drop  # type: ignore[method-assign]
    schedule = Schedule(ROAD, 12, {}, ROLES, slots=2, window=6)
    driver = Driver(schedule, cluster, lambda event: None, tolerance=Tolerance(0.25, 50))
    with pytest.raises(RunStopped, match=r"15 of 50 items of sample .*exception"):
        await driver.drive()
    driver, _ = make(FakeCluster())
    await driver.drive()


async def test_a_cluster_that_gets_its_slots_later_is_waited_for() -> None:
    cluster = FakeCluster()
    schedule = Schedule(ROAD, 12, {}, ROLES, slots=0, window=6)
    await Driver(schedule, cluster, lambda event: None, slots_now=lambda: {"engines": 2}).drive()
    assert set(cluster.committed) == {(s, i) for s in STAGE_NAMES for i in range(12)}


async def test_a_worker_that_does_not_come_up_is_tried_again_where_it_is_all_there_is() -> None:
    cluster = FakeCluster()
    cluster.open_error = WorkerLost("its node is gone")
    schedule = Schedule(ROAD, 1, {}, ROLES, slots=1, window=6, pause=0.01)

    def watch(event: Happened) -> None:
        if event.what == "lost":
            cluster.open_error = None

    await Driver(schedule, cluster, watch).drive()
    assert len(cluster.committed) == len(STAGE_NAMES)


async def test_a_cluster_that_does_not_say_what_slots_it_has_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drive, "POOLS_EVERY_S", 0.0)
    cluster = FakeCluster()
    schedule = Schedule(ROAD, 12, {}, ROLES, slots=0, window=6)
    answers = iter([InfrastructureError("not now")] * 3)

    def slots_now() -> dict[str, int]:
        if trouble := next(answers, None):
            raise trouble
        return {"engines": 2}

    await Driver(schedule, cluster, lambda event: None, slots_now=slots_now).drive()
    assert len(cluster.committed) == 12 * len(STAGE_NAMES)


async def test_a_run_that_is_cancelled_closes_every_worker_and_keeps_what_is_committed() -> None:
    cluster = FakeCluster()
    schedule = Schedule(ROAD, 12, {}, ROLES, slots=2, window=6)
    running = asyncio.Event()

    def watch(event: Happened) -> None:
        if event.what == "committed":
            running.set()

    driving = asyncio.create_task(Driver(schedule, cluster, watch).drive())
    await running.wait()
    driving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await driving
    assert not cluster.alive
    assert cluster.committed


async def test_one_event_costs_the_same_however_much_is_under_way() -> None:
    cluster = FakeCluster()
    roles = {"policy": RolePlan(slots=1, parallel=64, most=64)}
    schedule = Schedule(ROAD[:1], 4_000, {}, roles, slots=64, window=10**6)
    started = time.process_time()
    await Driver(schedule, cluster, lambda event: None).drive()
    cost = (time.process_time() - started) / 4_000
    print(f"{1e6 * cost:.0f} microseconds per shard")
    assert sum(cluster.committed.values()) == 4_000
    assert cost < 2e-3
