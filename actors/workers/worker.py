"""A worker: it reads a shard's rows from the store, runs the stage and commits the result.

No rows pass through the driver: the worker gets a task and returns a receipt. It has several shards
in flight, so that its engine never runs empty between them.

Invariant: a receipt is returned only for a shard with a commit in the store, its own or a twin's. A
worker that is closing commits nothing, because its stages may already lack what they need.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actors.engines.admission import Prompts, Queue, Work, work
from actors.workers.contract import Meter, Processor, ShardResult, shard_meter
from actors.workers.poison import Notes, entered, parts_of, run_apart
from actors.workers.yields import Floor, Yield, YieldWatch
from storage.errors import InfrastructureError
from storage.rows.accounting import account_of, unread_by
from storage.rows.kinds import Rows, ShardRows, stage_rows
from storage.runs.commits import Receipt
from storage.runs.run import Run

LOOKS_EVERY_S = 0.5
"""Seconds between looks at the engine's queue. A queue counts as empty only if the next look finds
it empty too."""

OpenStages = Callable[[], Awaitable[Mapping[str, Processor]]]
Held = dict[str, tuple[Any, ...]]
"""Stage -> rows of one shard; `STAGE, needed`: of these what later stages need."""
MakeRows = Callable[[ShardRows], Awaitable[ShardResult[Any]]]


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """How far one shard in flight has come."""

    stage: str
    shard: int
    done: int
    total: int


class Shares:
    """Splits a worker's time among the shards that it works on at once.

    The shares of all shards add up to the time in which the worker had any.
    """

    def __init__(self) -> None:
        self._shards = 0
        self._at = 0.0
        self._turn = 0.0
        """Seconds that a shard would have got which was there from the beginning."""

    def enter(self, now: float) -> float:
        """A shard begins; returns the mark that `since` takes."""
        self._go_on(now)
        self._shards += 1
        return self._turn

    def since(self, mark: float, now: float) -> float:
        """The share of a shard that began at `mark`, in seconds so far."""
        self._go_on(now)
        return self._turn - mark

    def leave(self, now: float) -> None:
        """A shard ends, however it does."""
        self._go_on(now)
        self._shards -= 1

    def _go_on(self, now: float) -> None:
        if self._shards:
            self._turn += (now - self._at) / self._shards
        self._at = now


class ShardWorker:
    """Works on shards of the stages of one role."""

    def __init__(
        self,
        run: Run,
        reads: Mapping[str, tuple[str, ...]],
        open_stages: OpenStages,
        writer: str,
        floor: Floor | None = None,
    ) -> None:
        """`reads`: stage -> the stages whose rows it needs. `writer`: name of this worker.

        `floor`: stops a stage with too few usable texts; None: never.
        """
        self._run = run
        self._reads = reads
        self._open_stages = open_stages
        self._writer = writer
        self._floor = floor
        self._watches: dict[str, YieldWatch] = {}
        self._stages: Mapping[str, Processor] = {}
        self._meters: dict[tuple[str, int], Meter] = {}
        self._begun = itertools.count()
        self._shares = Shares()
        self._queue = Queue()
        self._closing = False

    async def open(self) -> None:
        """Open this role's stages, once, before any shard: load its model, start its sandbox."""
        self._stages = await self._open_stages()

    async def work(self, stage: str, shard: int, held: Held | None = None) -> Receipt:
        """Make and commit one shard. Raises InfrastructureError and UserError only, BelowFloor
        among them.

        `held`: rows of the shard already in memory. Rows read and made are added to it, so that a
        caller can run several stages of a shard without reading them again.
        """
        return await self._publish(stage, shard, self._stages[stage].run, held)

    async def work_apart(self, stage: str, shard: int) -> Receipt:
        """`work` part by part; a part that kills for the third time is dropped as `poison`."""
        notes = Notes(self._run, stage, shard)
        items = await asyncio.to_thread(entered, self._run, stage, shard)

        async def apart(rows: ShardRows) -> ShardResult[Any]:
            return await run_apart(
                parts_of(stage_rows(stage), rows, items), self._stages[stage].run, notes
            )

        receipt = await self._publish(stage, shard, apart)
        await asyncio.to_thread(notes.clear)
        return receipt

    async def _publish(
        self, stage: str, shard: int, make: MakeRows, held: Held | None = None
    ) -> Receipt:
        meter = Meter()
        self._meters[stage, shard] = meter
        shard_meter.set(meter)
        prompts = Prompts()
        work.set(Work(next(self._begun), self._queue, prompts))
        watch = self._watch(stage)
        seen = watch.enter(shard)
        started = time.monotonic()
        mark = self._shares.enter(started)
        try:
            rows = await self._rows(stage, shard, held)
            result = await watch.unless_below(make(rows))
            counts = result.counts | seen.counts
            counts["items"] = max(meter.total, len(result.drops))
            if prompts.tokens:
                counts["prompt_tokens"] = prompts.tokens
            if self._closing:
                raise InfrastructureError(f"{self._writer} was closed while at {stage} {shard}")
            ended = time.monotonic()
            receipt = await asyncio.to_thread(
                self._run.publish,
                stage_rows(stage),
                shard,
                result.rows,
                drops=result.drops,
                counts=counts,
                seconds=ended - started,
                share_s=self._shares.since(mark, ended),
                role=self._writer,
            )
        finally:
            self._shares.leave(time.monotonic())
            self._meters.pop((stage, shard), None)
            watch.leave(shard)
        if receipt.won and held is not None:
            held[stage] = result.rows
        await watch.settled()
        return receipt

    def _watch(self, stage: str) -> YieldWatch:
        if stage not in self._watches:

            def committed(but: Collection[int]) -> Yield:
                total = Yield()
                for receipt in self._run.receipts(stage):
                    if receipt.shard not in but:
                        total.add(Yield.of(receipt.counts))
                return total

            self._watches[stage] = YieldWatch(self._floor, self._run.name, stage, committed)
        return self._watches[stage]

    async def _rows(self, stage: str, shard: int, held: Held | None = None) -> ShardRows:
        needed, held = self._reads[stage], {} if held is None else held
        kinds = [stage_rows(name) for name in needed]
        part = stage_rows(stage).only_needed
        read = self._run.read_needed if part else self._run.read_rows

        def place(kind: Rows[Any]) -> str:
            whole = kind.needed is None or not part or kind.stage in held
            return kind.stage if whole else f"{kind.stage}, needed"

        missing = [kind for kind in kinds if place(kind) not in held]
        parts = await asyncio.gather(*(asyncio.to_thread(read, kind, shard) for kind in missing))
        held.update((place(kind), tuple(rows)) for kind, rows in zip(missing, parts, strict=True))
        rows = ShardRows({kind: filter(kind.shown, held[place(kind)]) for kind in kinds})
        for kind in kinds:
            rows = rows if kind.unfold is None else kind.unfold(rows)
        before = self._run.spec.stages[: self._run.spec.stages.index(stage)]
        if unread := unread_by(needed, before):
            gone = await asyncio.to_thread(self._ended, unread, shard)
            rows = rows.only(lambda kind, row: getattr(row, kind.of) not in gone)
        return rows

    def _ended(self, stages: Sequence[str], shard: int) -> frozenset[str]:
        """The items of a shard that end at one of these stages."""
        ended: set[str] = set()
        for stage in stages:
            kind, commit = stage_rows(stage), self._run.commit(stage, shard)
            rows = self._run.rows_of(commit, kind)
            ended |= account_of(kind, rows, commit.drops).ended(commit.drops)
        return frozenset(ended)

    async def hungry(self) -> None:
        """Return once the engine's queue is empty, so that it can take another shard's requests.

        It does not return while a shard's rows are still being read, for its requests are to come.
        Nor while solutions wait for code sessions, for more solutions would only wait too.
        """
        looks = 0
        while looks < 2:
            await asyncio.sleep(LOOKS_EVERY_S)
            begun = all(meter.total for meter in self._meters.values())
            empty = begun and not self._queue.waiting and not self._queue.parked
            looks = looks + 1 if empty else 0

    def progress(self) -> list[ShardProgress]:
        """How far the shards in flight have come."""
        return [
            ShardProgress(stage, shard, meter.done, meter.total)
            for (stage, shard), meter in self._meters.items()
        ]

    async def close(self) -> None:
        """Release models and sandboxes; shards under way are not committed."""
        self._closing = True
        await asyncio.gather(*(stage.close() for stage in self._stages.values()))
