"""The driver's loop on clusters that fail in every way, without Ray."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from storage.commits import Receipt
from storage.errors import (
    ConfigurationError,
    EngineFailed,
    RunStopped,
    StoreRefused,
    StoreUnavailable,
    WorkerLost,
)
from workflows.drive import Driver, Happened
from workflows.road import MODEL_ROLES, ROAD, STAGE_NAMES
from workflows.schedule import RolePlan, Schedule

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
