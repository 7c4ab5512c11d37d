"""A worker's shard: committed whole, or item by item where something in it kills."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.engines.admission import Admission
from actors.engines.contract import Completion, Reply, Sampling
from actors.workers.contract import ShardResult, process_items, process_now
from actors.workers.poison import DEATHS, Notes, entered, parts_of, run_apart
from actors.workers.worker import Held, ShardWorker
from storage.audit import audit
from storage.errors import (
    EngineFailed,
    InfrastructureError,
    ItemError,
    RunStopped,
    StoreUnavailable,
)
from storage.rows.kinds import PATHS, PROBLEMS, ROLLOUTS, Rows, ShardRows, stage_rows
from storage.rows.records import Drop, Problem
from storage.runs.run import Run
from tests.support.scripted_build import Build, configure
from tests.support.virtual_time import run_virtually
from workflows.road import reads_by_stage
from workflows.runs.run import finish
from workflows.stages import STAGE_NAMES


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(configure(tmp_path))


class Killer:
    """A stage that dies of one item, as far as the worker can see."""

    def __init__(self, stage: Any, item: str, error: Exception) -> None:
        self._stage = stage
        self._item = item
        self._error = error
        self.worked: list[tuple[str, ...]] = []

    async def run(self, rows: ShardRows) -> ShardResult[Any]:
        held = tuple(row.path_id for row in rows[PATHS]) or tuple(
            row.problem_id for row in rows[PROBLEMS]
        )
        self.worked.append(held)
        if self._item in held:
            raise self._error
        result: ShardResult[Any] = await self._stage.run(rows)
        return result

    async def close(self) -> None:
        """Nothing."""


async def worker_of(build: Build, role: str, **instead: Any) -> ShardWorker:
    async def stages() -> Any:
        return build._stages(role) | instead

    made = ShardWorker(build.run, reads_by_stage(build.config.road), stages, role)
    await made.open()
    return made


async def through(build: Build, shard: int, *stages: str) -> None:
    roles = {"sample": "policy", "estimate": "completer", "rationalize": "rationale"}
    for stage in stages:
        await (await worker_of(build, roles.get(stage, "cpu"))).work(stage, shard)


def rows_of(run: Run, stage: str, shard: int) -> list[Any]:
    return run.read_rows(stage_rows(stage), shard)


async def test_a_shard_made_item_by_item_is_the_shard_made_whole(build: Build) -> None:
    for stage, role in (
        ("sample", "policy"), ("estimate", "completer"), ("label", "cpu"),
        ("rationalize", "rationale"), ("consensus", "cpu"), ("export", "cpu"),
    ):  # fmt: skip
        worker = await worker_of(build, role)
        rows = await worker._rows(stage, 0)
        whole = await worker._stages[stage].run(rows)
        receipt = await worker.work_apart(stage, 0)
        assert rows_of(build.run, stage, 0) == list(whole.rows), stage
        drops = build.run.commit(stage, 0).drops
        assert sorted(drops, key=str) == sorted(whole.drops, key=str)
        assert {name: receipt.counts[name] for name in whole.counts} == whole.counts
        assert Notes(build.run, stage, 0).deaths() == {}


async def test_an_item_that_kills_three_times_is_dropped_as_poison_and_the_rest_goes_on(
    build: Build,
) -> None:
    await through(build, 0, "sample", "estimate", "label")
    items = entered(build.run, "rationalize", 0)
    poison = items[2]
    for attempt in range(DEATHS):
        maker = build._stages("rationale")["rationalize"]
        killer = Killer(maker, poison, EngineFailed("dead"))
        worker = await worker_of(build, "rationale", rationalize=killer)
        with pytest.raises(EngineFailed):
            await worker.work_apart("rationalize", 0)
        assert killer.worked[-1] == (poison,)
        if attempt:
            assert killer.worked == [(poison,)], "a suspect is tried before all others"
    worker = await worker_of(build, "rationale", rationalize=killer)
    receipt = await worker.work_apart("rationalize", 0)
    assert receipt.drops["poison"] == 1
    commit = build.run.commit("rationalize", 0)
    [drop] = [drop for drop in commit.drops if drop.reason == "poison"]
    assert (drop.item, drop.detail) == (poison, "its worker died 3 times")
    await through(build, 0, "consensus", "export")
    await build.work()
    finish(build.run)
    assert audit(build.run).findings == ()
    assert all(len(build.run.shards_of(stage)) == 4 for stage in STAGE_NAMES)


async def test_trouble_that_is_not_the_items_leaves_no_suspicion(build: Build) -> None:
    killer = Killer(build._stages("policy")["sample"], "", StoreUnavailable("away"))
    first = entered(build.run, "sample", 0)[0]
    killer._item = first
    worker = await worker_of(build, "policy", sample=killer)
    with pytest.raises(StoreUnavailable):
        await worker.work_apart("sample", 0)
    assert Notes(build.run, "sample", 0).deaths() == {}


async def test_an_innocent_suspect_is_cleared(build: Build) -> None:
    notes = Notes(build.run, "sample", 0)
    first = entered(build.run, "sample", 0)[0]
    notes.write(first)
    notes.write(first)
    receipt = await (await worker_of(build, "policy")).work_apart("sample", 0)
    assert "poison" not in receipt.drops
    assert notes.deaths() == {}


async def test_a_shard_of_which_every_item_kills_is_not_committed(build: Build) -> None:
    notes = Notes(build.run, "sample", 0)
    items = entered(build.run, "sample", 0)
    for item in items:
        for _ in range(DEATHS):
            notes.write(item)
    worker = await worker_of(build, "policy")
    with pytest.raises(RunStopped, match="it is the engine"):
        await worker.work_apart("sample", 0)
    assert 0 not in build.run.shards_of("sample")


async def test_the_parts_of_a_shard_hold_every_item_once(build: Build) -> None:
    await through(build, 0, "sample")
    worker = await worker_of(build, "completer")
    rows = await worker._rows("estimate", 0)
    items = entered(build.run, "estimate", 0)
    parts = parts_of(ROLLOUTS, rows, items)
    assert tuple(item for part in parts for item in part.items) == items
    assert [{p.problem_id for p in part.rows[PATHS]} for part in parts] == [
        {part.name} for part in parts
    ]
    notes = Notes(build.run, "estimate", 0)
    result = await run_apart(parts, worker._stages["estimate"].run, notes)
    assert result.rows


async def test_stages_made_one_after_the_other_read_each_row_once(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    await through(build, 0, "sample", "estimate", "label", "rationalize")
    read: list[str] = []

    def counted(real: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        def reading(run: Run, kind: Rows[Any], shard: int) -> list[Any]:
            read.append(kind.stage)
            return real(run, kind, shard)

        return reading

    for way in ("read_rows", "read_needed"):
        monkeypatch.setattr(Run, way, counted(getattr(Run, way)))
    worker, held = await worker_of(build, "cpu"), Held()
    for stage in ("consensus", "export"):
        await worker.work(stage, 0, held)
    assert sorted(read) == ["label", "problems", "rationalize", "sample"]
    assert list(held["consensus"]) == rows_of(build.run, "consensus", 0)


def test_what_waits_for_nothing_is_dropped_for_the_same_reasons() -> None:
    def process(item: str) -> list[str]:
        if item == "b":
            raise ItemError("bad", "it is")
        if item == "c":
            raise ZeroDivisionError("c")
        if item == "f":
            raise StoreUnavailable("gone")
        return [item, item]

    rows, drops = process_now("abcd", str, process)
    assert rows == ["a", "a", "d", "d"]
    assert drops == [Drop("b", "bad", "it is"), Drop("c", "exception", "ZeroDivisionError: c")]
    with pytest.raises(StoreUnavailable):
        process_now("af", str, process)


class Slow:
    """A stage whose items each ask an engine of one place, for a minute each."""

    def __init__(self) -> None:
        self._engine = Admission(1)

    async def run(self, rows: ShardRows) -> ShardResult[Any]:
        await asyncio.sleep(30)  # as if the rows were still being read

        async def made() -> Reply:
            await asyncio.sleep(60)
            return Reply((Completion("x", "stop", None, 1),), 1)

        async def one(item: int) -> list[Any]:
            await self._engine.each(Sampling(), 1, lambda wanted, leave: [made()])
            return []

        _, drops = await process_items(range(3), str, one)
        return ShardResult((), tuple(drops))

    async def close(self) -> None:
        """Nothing."""


def test_a_worker_is_hungry_once_all_that_its_shards_ask_for_is_inside_the_engine(
    build: Build,
) -> None:
    async def main() -> tuple[float, float]:
        worker = await worker_of(build, "policy", sample=Slow())
        now = asyncio.get_running_loop().time
        working = asyncio.create_task(worker.work("sample", 0))
        await asyncio.sleep(0)
        await worker.hungry()
        hungry = now()
        await working
        return hungry, now()

    hungry, done = run_virtually(main())
    assert done == pytest.approx(30 + 3 * 60)
    assert 30 + 2 * 60 < hungry <= 30 + 2 * 60 + 1, "not while it reads, nor while two items wait"


class Broken:
    """A stage whose items fail in whatever way as soon as it is closed."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self._closed = asyncio.Event()

    async def run(self, rows: ShardRows) -> ShardResult[Any]:
        async def one(problem: Problem) -> list[Any]:
            self.begun.set()
            await self._closed.wait()
            raise AttributeError("nothing is there any more")

        made, drops = await process_items(rows[PROBLEMS], lambda row: row.problem_id, one)
        assert {drop.reason for drop in drops} == {"exception"}
        return ShardResult(tuple(made), tuple(drops))

    async def close(self) -> None:
        self._closed.set()


async def test_what_is_under_way_when_a_worker_is_closed_is_not_committed(build: Build) -> None:
    stage = Broken()
    worker = await worker_of(build, "policy", sample=stage)
    working = asyncio.create_task(worker.work("sample", 0))
    await stage.begun.wait()
    await worker.close()
    with pytest.raises(InfrastructureError, match="was closed while at sample 0"):
        await working
    assert build.run.shards_of("sample") == set()
