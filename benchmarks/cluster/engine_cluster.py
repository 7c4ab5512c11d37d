"""Workers around scripted engines with the rates of real ones, in virtual time.

Invariant: what a shard took is told in virtual seconds, of which a worker's shards share all.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from actors.engines.contract import EngineSettings
from actors.engines.scripted import Latency, ScriptedEngine
from actors.workers.contract import Processor
from actors.workers.worker import Shares
from benchmarks.charges import ROW_S, ChargedEngine, Charges
from benchmarks.counting_store import working_at
from benchmarks.paper_world import IN_FLIGHT, SCRIPTS, WORD
from benchmarks.virtual_time import MeteredClock, Seconds, TimedSandbox
from storage.runs.commits import Receipt
from storage.runs.run import Run
from tests.support.local_cluster import LocalCluster
from workflows.builds.configuration import BuildConfig
from workflows.runs.workers import StageMaker

LOAD_S = 90.0
"""Until a model is loaded."""
GPUS = {"policy": 1, "completer": 1, "rationale": 4}
RATE = {"policy": 6_443.0, "completer": 6_443.0, "rationale": 4 * 2_078.0}
"""Tokens a second of one engine that is full."""
SESSIONS, SLOTS = 128, 16
BLOCK_S = 0.5
"""A sympy check with its import."""


class Took(NamedTuple):
    """What a shard of a stage took."""

    share_s: float
    """Its share of the worker's virtual seconds."""
    rows: int
    bytes: int
    counts: dict[str, int]


class EngineCluster(LocalCluster):
    """Workers around metered engines, which take their time to load."""

    def __init__(self, run: Run, config: BuildConfig, free: bool = False) -> None:
        """`free`: nothing is charged but what engines and code take (`benchmarks.charges`)."""
        super().__init__(run, self._stages)
        self._config, self._free = config, free
        self._maker = StageMaker(config, run.name)
        self._clocks: dict[int, MeteredClock] = {}
        self._made: MeteredClock | None = None
        self._opening = Charges(free)
        self._charges: dict[int, Charges] = {}
        self._gone = Seconds()
        """Of engines that were closed."""
        self._shares: defaultdict[int, Shares] = defaultdict(Shares)
        self.took: dict[str, list[Took]] = {}
        """Stage -> what each shard took."""

    def _stages(self, role: str) -> Mapping[str, Processor]:
        self._opening = charges = Charges(self._free)
        if role == "cpu":
            return self._maker.pure()
        self._made = clock = MeteredClock(GPUS[role], IN_FLIGHT[role])
        latency = Latency(0.02, 2e-5, WORD * IN_FLIGHT[role] / RATE[role])
        settings: EngineSettings = self._config.engine(role)
        engine = ScriptedEngine(SCRIPTS[role], settings, latency=latency, clock=clock)
        charged = ChargedEngine(engine, charges)
        return self._maker.around(role, charged, TimedSandbox(SESSIONS, SLOTS, BLOCK_S))

    async def open(self, worker: int, role: str) -> None:
        """Load a model."""
        if role in GPUS:
            await asyncio.sleep(LOAD_S)
        await super().open(worker, role)
        self._charges[worker] = self._opening
        if self._made is not None:
            self._clocks[worker], self._made = self._made, None

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        """Make a shard, and note its share of the worker's virtual time."""
        now, shares = asyncio.get_running_loop().time, self._shares[worker]
        mark = shares.enter(now())
        working_at.set(stage)
        try:
            charges = self._charges[worker]
            receipt = await super().run(worker, stage, shard)
            await charges.reads(receipt.bytes)
            await charges.core(2 * ROW_S * receipt.rows)
            await charges.commits(receipt.bytes)
            took = Took(shares.since(mark, now()), receipt.rows, receipt.bytes, receipt.counts)
            self.took.setdefault(stage, []).append(took)
        finally:
            shares.leave(now())
        return receipt

    async def close(self, worker: int) -> None:
        """Release a model."""
        await super().close(worker)
        if clock := self._clocks.pop(worker, None):
            self._gone += clock.seconds()

    @property
    def core_s(self) -> float:
        """Charged to the interpreters of all workers."""
        return sum(charges.core_s for charges in self._charges.values())

    def seconds(self) -> Seconds:
        """Of all engines so far."""
        return sum((clock.seconds() for clock in self._clocks.values()), self._gone)
