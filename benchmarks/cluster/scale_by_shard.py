"""The paper's build 1, 10 and 100 times as large, shard by shard, with costs drawn from a smaller.

    python -m benchmarks.scale --only virtual --costs FILE
    python -m benchmarks.scale_by_shard FILE [--times 1 10 100] [--gpus 32] [--store URL]

Real are the driver, its schedule, its display, its folding of receipts into summaries, which lie
in memory, and the run's end; requests of the store are counted there. A commit is made when it is
read: hundreds of thousands of them would be most of the memory. A worker is a model. Of each shard
it draws what one shard took in `FILE` at every stage, and charges, in virtual time:

  store      its reads and its commit, each request at the latency that `--store` has here (by
             default what an S3 server of the tests had), rows at 100 MB/s
  processor  what a worker's one interpreter does, one shard at a time: Parquet and records by rows,
             0.52 ms a request (prompt, tokens, event loop) and 0.08 ms an answer, as measured
             (docs/measured.md)
  engine     the shard's share of its worker's seconds in `FILE`, one shard after the other; a model
             is loaded in 90 s

The cluster grows with the build: `--gpus` for 7,500 problems, as many times more for more. A row
each: virtual hours, the share of engine seconds at work, the driver's CPU for a commit and a shard
(with the simulation's own, so that it is a bound), the share of one core that it is at those
hours, requests of the store for each shard, by workers (counted in `FILE`) and by the driver
(counted here, its notes added), and the peak of memory.

Invariant: all figures but CPU and memory follow from FILE, the latency and the seed.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import random
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.charges import ANSWER_S, REQUEST_S, ROW_S, STORE_S, Charges, latency_of
from benchmarks.counting_store import CountingStore
from benchmarks.engine_cluster import GPUS, LOAD_S
from launch.shown.progress import BuildProgress
from storage.objects.memory import MemoryStore
from storage.objects.store import Entry
from storage.rows.kinds import ROAD
from storage.runs import layout
from storage.runs.commits import Commit, Receipt, Writer, commit_bytes, receipt_of
from storage.runs.presence import LOOK_EVERY_S, LOOKS_PER_BEAT
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, Spec
from storage.summaries.folding import Folding
from storage.summaries.shards import ShardSet
from tests.support.virtual_time import run_virtually
from workflows.schedule.driver import Driver
from workflows.schedule.events import Happened
from workflows.schedule.schedule import RolePlan, Schedule
from workflows.stages import ROAD as STAGES

NAME = "scale"
PROBLEMS, SHARD = 7_500, 16


@dataclass
class Drawn:
    """What shards take, drawn from what they took in a smaller build."""

    took: dict[str, list[Any]]
    latency_s: float

    def of(self, stage: str, shard: int) -> tuple[float, int, int, dict[str, int]]:
        """Share of engine seconds, rows, bytes and counts; alike at all stages of a shard."""
        known = self.took[stage]
        share, rows, size, counts = known[random.Random(shard).randrange(len(known))]
        return share, rows, size, counts


@dataclass(frozen=True)
class DrawnStore(MemoryStore):
    """A store in memory, but for commits: these are drawn whenever they are read."""

    drawn: Drawn = None  # type: ignore[assignment]
    spec: str = ""
    committed: dict[str, ShardSet] = field(default_factory=lambda: defaultdict(ShardSet))

    def commit(self, stage: str, shard: int) -> Commit:
        """The commit of a shard, as its worker would have written it."""
        share, rows, size, counts = (
            self.drawn.of(stage, shard) if stage != ROAD[0] else (0.0, SHARD, 9_000, {})
        )
        number = ROAD.index(stage) << 40 | shard
        digest, attempt = f"{number:064x}", f"{number:032x}"
        return Commit(
            stage, shard, layout.data_key(NAME, stage, shard, digest), digest, size, rows, stage,
            1, (), counts, share, attempt, Writer("node", 1, 1), self.spec, share,
        )  # fmt: skip

    def get(self, key: str, most: int | None = None) -> bytes:
        """A stored object, or the commit of a shard that is committed."""
        stage, shard = key.split("/")[2], layout.shard_of(key)
        if "/commits/" in key and shard is not None and shard in self.committed[stage]:
            return commit_bytes(self.commit(stage, shard))
        return super().get(key, most)

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Stored objects, and of a stage's commits those that there are."""
        yield from super().list(prefix, after)
        for stage in ROAD:
            if prefix == layout.commit_prefix(NAME, stage):
                keys = (layout.commit_key(NAME, stage, shard) for shard in self.committed[stage])
                yield from (Entry(key, 900) for key in keys if key > after)


@dataclass
class ShardCluster:
    """Workers as models of what they charge."""

    store: DrawnStore
    engines: defaultdict[int, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )
    charges: dict[int, Charges] = field(default_factory=dict)
    opened: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Worker -> GPUs, and since when its model is loaded."""
    loaded_s: float = 0.0
    engine_s: float = 0.0

    async def open(self, worker: int, role: str) -> None:
        """Load a model."""
        await asyncio.sleep(LOAD_S if role in GPUS else 5.0)
        self.charges[worker] = Charges(latency_s=self.store.drawn.latency_s)
        self.opened[worker] = GPUS.get(role, 0), asyncio.get_running_loop().time()

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        """Charge a shard."""
        share, rows, size, counts = self.store.drawn.of(stage, shard)
        model = bool(self.opened[worker][0])
        asked = counts.get("replies", 0) if model else 0
        cpu = REQUEST_S * asked + ANSWER_S * counts.get("texts", 0) + 2 * ROW_S * rows
        charges = self.charges[worker]
        await charges.reads(size)
        await charges.core(cpu)
        if model:
            async with self.engines[worker]:
                await asyncio.sleep(share)
        await charges.commits(size)
        self.engine_s += share * self.opened[worker][0]
        self.store.committed[stage].add(shard)
        return receipt_of(self.store.commit(stage, shard))

    isolate = run

    async def close(self, worker: int) -> None:
        """Release a model."""
        if (opened := self.opened.pop(worker, None)) is not None:
            self.loaded_s += opened[0] * (asyncio.get_running_loop().time() - opened[1])


def by_shard(drawn: Drawn, times: int, gpus: int, asked: float, problems: int = PROBLEMS) -> str:
    """Build so many times the problems on so many times the GPUs, and say how it went."""
    shards, gpus = -(-problems * times // SHARD), gpus * times
    spec = Spec({}, "0" * 64, ShardPlan(problems * times, SHARD))
    commits_of = DrawnStore(drawn=drawn, spec=spec.fingerprint)
    store = CountingStore(commits_of)
    run = Run(store, NAME, spec)
    cluster = ShardCluster(commits_of)
    roles = {role: RolePlan(GPUS[role], 4, gpus) for role in GPUS}
    roles["cpu"] = RolePlan(0, 4, min(64, 1 + shards // 500))
    quiet = Console(file=io.StringIO())

    async def build() -> float:
        clock = asyncio.get_running_loop().time
        shown = BuildProgress(NAME, ROAD[1:], shards, {}, clock, quiet)
        schedule = Schedule(STAGES, shards, {}, roles, gpus, 64, clock=clock)
        with Folding(run) as folding:
            for shard in range(shards):  # as they were when the run began
                commits_of.committed[ROAD[0]].add(shard)
                folding.note(receipt_of(commits_of.commit(ROAD[0], shard)))

            def happened(event: Happened) -> None:
                if event.what == "committed" and event.receipt is not None:
                    folding.note(event.receipt)
                shown.happened(event)

            await Driver(schedule, cluster, happened, run=NAME).drive()
        return clock()

    cpu, wall = time.process_time(), time.perf_counter()
    seconds = run_virtually(build())
    run.finish()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    commits = shards * len(STAGES)
    notes = seconds * (2 / LOOK_EVERY_S + 2 / LOOK_EVERY_S / LOOKS_PER_BEAT)
    mine = store.asked.total() / shards
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"| {times} | {problems * times:,} | {shards:,} | {commits:,} | {gpus:,} | "
        f"{seconds / 3600:.2f} | {100 * cluster.engine_s / cluster.loaded_s:.0f} % | "
        f"{commits / seconds:.1f} | {1e3 * cpu / commits:.2f} | {1e3 * cpu / shards:.1f} | "
        f"{100 * cpu / seconds:.1f} % | {asked:.1f} | {mine + notes / shards:.2f} | {peak:.0f} | "
        f"{wall:.0f} |"
    )


HEAD = """\
| times | problems | shards | commits | GPUs | hours | engines at work | commits/s | \
driver's CPU, ms/commit | ms/shard | of a core | workers' requests/shard | driver's | peak MB | \
s here |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Draw, build and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("costs", type=Path, help="what `benchmarks.scale --costs` wrote")
    parser.add_argument("--times", type=int, nargs="*", default=[1, 10])
    parser.add_argument("--gpus", type=int, default=32, help="of 7,500 problems")
    parser.add_argument("--store", help="measure a store's latency, in place of what one had")
    arguments = parser.parse_args()
    kept = json.loads(arguments.costs.read_text())
    latency = latency_of(arguments.store) if arguments.store else STORE_S
    drawn = Drawn(kept["took"], latency)
    print(f"costs of {kept['shards']:,} shards; {1e3 * latency:.1f} ms a request of the store")
    print(HEAD)
    line = partial(by_shard, drawn, gpus=arguments.gpus, asked=sum(kept["asked"].values()))
    for times in arguments.times:
        print(line(times), flush=True)


if __name__ == "__main__":
    main()
