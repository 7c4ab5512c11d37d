"""The paper's whole build with scripted engines, in virtual time; and its receipts in real time.

    python -m benchmarks.scale [--problems FILE] [--limit N] [--gpus 32] [--costs FILE]
    python -m benchmarks.scale --only receipts --limit 1600 --server ceph --rows-of demo

Two builds of 7,500 problems, up to 2,048 paths each, K of 128, 64 and 32:

  virtual    everything is what `build` does, but for Ray: the driver and its schedule, the workers
             and their stages, every sample, rollout, label, rationale and commit. The engines are
             scripted (`benchmarks.paper_world`), with their latency model and its clock. With all
             its sequences in flight an engine makes the tokens published for an H100 (6,443 a
             second for an 8B model, 2,078 for a 32B one, on four GPUs). Code runs in one
             executor for each engine that writes it, as in `ray_cluster.yaml`, for half a second a
             block; as many sessions and slots as `configs/genprm.yaml` has. Each worker's one
             interpreter is charged for requests, answers and rows, each shard for the store
             (`benchmarks.charges`); `--free`: neither, as if only engines took time.
             `--costs` keeps what every shard took, for `benchmarks.scale_by_shard`.
             `at work`: the share of the engines' places that hold a sequence, over the GPU seconds
             of loaded engines, outside start and drain.
  receipts   the driver and its schedule in real time over a store in a local folder, or an S3
             server (`--server ceph`); the workers commit empty shards at once, or those of a
             finished run (`--rows-of`), so that what is left is driver, encoding and store.
             Receipts a second, and resident memory of the driver's process at each tenth.

The start ends with the first committed export. The drain begins when the last shard is given to a
rationale engine, so that none waits for a model. The whole takes some twenty minutes of one core.

Invariant: all figures of the virtual build follow from the input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import paper_world
from benchmarks.counting_store import CountingStore
from benchmarks.demo_cluster import s3_server
from benchmarks.engine_cluster import GPUS, RATE, EngineCluster
from benchmarks.paper_world import IN_FLIGHT, WORD
from benchmarks.virtual_time import Seconds
from launch.config import validate
from storage.objects.opening import open_store
from storage.rows.kinds import stage_rows
from storage.runs.commits import Receipt
from storage.runs.layout import DEFAULT_STORE
from storage.runs.run import Run
from tests.support.virtual_time import run_virtually
from workflows.builds.configuration import BuildConfig
from workflows.runs.run import finish
from workflows.runs.starting import start_run
from workflows.schedule.driver import Driver
from workflows.schedule.events import Happened
from workflows.schedule.schedule import RolePlan, Schedule
from workflows.stages import ROAD, STAGE_NAMES

PROBLEMS = 7_500
WRITERS = 64
OPTIONS = {"virtual": ("gpus", "costs", "free"), "receipts": ("server", "rows_of", "store")}
"""Of each build alone."""


def texts_of(file: Path | None, limit: int) -> list[str]:
    """The file's problems, or as many made up."""
    if file is None or not file.is_file():
        return [f"What is {i} + {i}?" for i in range(limit)]
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line)["problem"] for line in islice(lines, limit)]


def configuration(folder: Path, texts: list[str], shard_size: int, parallel: int) -> BuildConfig:
    """The paper's numbers, which are the defaults, over scripted models."""
    models = {
        role: {
            "kind": "scripted", "model": f"benchmarks.paper_world:{role}",
            "max_in_flight": IN_FLIGHT[role], "tensor_parallel": GPUS[role],
        }
        for role in GPUS
    }  # fmt: skip
    raw = {
        "run": "scale",
        "problems": str(paper_world.write_problems(texts, folder / "problems.jsonl")),
        "store": f"file:{folder}/store",
        "shard_size": shard_size,
        "models": models,
        "cluster": {"parallel_shards": parallel, "window": 64},
    }
    return validate(raw, "scale")


@dataclass
class Watched:
    """What is noted while the build runs."""

    cluster: EngineCluster
    shards: int
    begun: set[int] = field(default_factory=set)
    """Shards that a rationale engine was given."""
    begin: tuple[float, Seconds] | None = None
    """When the first export was committed."""
    drain: tuple[float, Seconds] | None = None
    """When the last shard was given to a rationale engine."""
    tokens: dict[str, int] = field(default_factory=dict)
    rollouts: int = 0
    memory: list[float] = field(default_factory=lambda: [memory_mb()])
    commits: int = 0
    tries: int = 0

    def happened(self, event: Happened) -> None:
        """Take note."""
        now = asyncio.get_running_loop().time()
        self.tries += event.what == "started"
        if event.what == "started" and event.task and event.task.stage == "rationalize":
            self.begun.add(event.task.shard)
            if len(self.begun) == self.shards and self.drain is None:
                self.drain = now, self.cluster.seconds()
        if event.what != "committed" or event.receipt is None:
            return
        receipt = event.receipt
        counted = receipt.counts.get("tokens", 0)
        self.tokens[event.role] = self.tokens.get(event.role, 0) + counted * WORD
        self.rollouts += receipt.counts.get("rollouts", 0)
        self.commits += 1
        if self.commits * 10 >= len(self.memory) * self.shards * len(ROAD):
            self.memory.append(memory_mb())
        if receipt.stage == "export" and self.begin is None:
            self.begin = now, self.cluster.seconds()


def memory_mb() -> float:
    """Resident memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def virtual(config: BuildConfig, gpus: int, costs: Path | None = None, free: bool = False) -> None:
    """Build everything in virtual time, and say how the engines did."""
    store = CountingStore(open_store(config.store))
    run = start_run(config, store, None)
    store.asked.clear()
    started = time.perf_counter()

    async def build() -> tuple[Watched, float, Seconds, int, EngineCluster]:
        clock = asyncio.get_running_loop().time
        cluster = EngineCluster(run, config, free)
        seen = Watched(cluster, run.spec.plan.shards)
        roles: Mapping[str, RolePlan] = {
            role: RolePlan(
                GPUS[role],
                config.cluster.parallel_shards,
                gpus,
                most_parallel=config.cluster.most_parallel_shards,
            )
            for role in GPUS
        } | {"cpu": RolePlan(0, 8, 1)}
        schedule = Schedule(
            config.road, run.spec.plan.shards, {}, roles, gpus, config.cluster.window, clock=clock
        )
        await Driver(schedule, cluster, seen.happened, run=run.name).drive()
        return seen, clock(), cluster.seconds(), schedule.switches, cluster

    seen, end, whole, switches, cluster = run_virtually(build())
    seconds = time.perf_counter() - started
    shards = run.spec.plan.shards
    asked = {kind: count / shards for kind, count in sorted(store.asked.items())}
    read = {stage: store.read[stage] / shards for stage in STAGE_NAMES if store.read[stage]}
    finish(run)
    assert seen.begin is not None
    assert seen.drain is not None
    spent = seen.drain[1] - seen.begin[1]
    sampled, kept = run.totals("sample"), run.totals("export")
    print(
        f"virtual: {sampled.counts['sampled']:,} paths, {seen.rollouts:,} rollouts, "
        f"{kept.rows:,} examples of {run.spec.plan.items:,} problems in "
        f"{run.spec.plan.shards:,} shards; {end / 3600:.2f} virtual hours on {gpus} GPUs, "
        f"{seconds:.0f} s here"
    )
    between = spent.at_work
    print(
        f"{'-' if between is None else f'{100 * between:.1f} %'} of the places at work in "
        f"{spent.loaded / 3600:.1f} engine hours between start and drain "
        f"({seen.begin[0] / 3600:.2f} h to {seen.drain[0] / 3600:.2f} h; in all "
        f"{whole.loaded / 3600:.1f}, {100 * (whole.at_work or 0.0):.1f} %); "
        f"{switches} model switches, {seen.tries - seen.commits} twins"
    )
    full = sum(seen.tokens[role] * GPUS[role] / RATE[role] for role in GPUS)
    print(
        f"{sum(seen.tokens.values()) / 1e9:.2f} billion tokens: {100 * full / whole.loaded:.0f} % "
        f"of what full engines would have made in all of those hours"
    )
    print(f"charged to workers' interpreters: {cluster.core_s:,.0f} core seconds")
    print(f"memory of driver, engines and workers together, MB: {said(seen.memory)}")
    print("requests per shard: " + ", ".join(f"{kind} {n:.1f}" for kind, n in asked.items()))
    print("kB of rows read per shard: " + ", ".join(f"{s} {n / 1e3:.1f}" for s, n in read.items()))
    if costs is not None:
        kept = {"shards": shards, "asked": asked, "read": read, "took": cluster.took}
        costs.write_text(json.dumps(kept))


def said(memory: list[float]) -> str:
    """Megabytes at each tenth."""
    return " ".join(f"{mb:.0f}" for mb in memory)


@dataclass
class Publishers:
    """Workers that commit a shard at once: what is left is the store and the driver."""

    own_run: Run
    rows: Mapping[str, Sequence[Sequence[Any]]] = field(default_factory=dict)
    """Stage -> rows of some shards, which are committed in turn; none: empty shards."""
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(WRITERS))
    won: int = 0
    memory: list[float] = field(default_factory=lambda: [memory_mb()])

    async def open(self, worker: int, role: str) -> None:
        """Nothing to load."""

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        """Publish."""
        rows = given[shard % len(given)] if (given := self.rows.get(stage)) else []
        publish = partial(self.own_run.publish, stage_rows(stage), shard, rows)
        receipt = await asyncio.get_running_loop().run_in_executor(self.threads, publish)
        self.won += receipt.won
        if self.won * 10 >= len(self.memory) * self.own_run.spec.plan.shards * len(ROAD):
            self.memory.append(memory_mb())
        return receipt

    isolate = run

    async def close(self, worker: int) -> None:
        """Nothing to release."""


def rows_by_stage(run: Run) -> dict[str, list[list[Any]]]:
    """Stage -> the rows of each shard of a finished run."""
    shards = range(run.spec.plan.shards)
    return {
        stage: [run.read_rows(stage_rows(stage), shard) for shard in shards]
        for stage in STAGE_NAMES
        if stage in run.spec.stages
    }


def receipts(config: BuildConfig, rows: Mapping[str, Sequence[Sequence[Any]]]) -> None:
    """Publish every (stage, shard) as many at once as workers would, and say how fast."""
    run = start_run(config, open_store(config.store), None)
    shards = run.spec.plan.shards
    cluster = Publishers(run, rows)
    roles = {str(stage.role): RolePlan(slots=0, parallel=8, most=WRITERS // 8) for stage in ROAD}
    schedule = Schedule(ROAD, shards, {}, roles, slots=0, window=256)
    started, cpu = time.perf_counter(), time.process_time()
    asyncio.run(Driver(schedule, cluster, lambda event: None).drive())
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert cluster.won == shards * len(STAGE_NAMES)
    print(
        f"{cluster.won:,} receipts in {seconds:.1f} s: {cluster.won / seconds:.0f} a second "
        f"({1e3 * cpu / cluster.won:.2f} CPU ms each), {WRITERS} writers"
    )
    print(f"memory of the driver's process, MB: {said(cluster.memory)}")


def asked(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options. Ends the process for one of a build that `--only` leaves out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=Path, default=None, help="JSON lines with `problem`")
    parser.add_argument("--limit", type=int, default=PROBLEMS)
    parser.add_argument("--gpus", type=int, default=32)
    parser.add_argument("--shard-size", type=int, default=16)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=None, help="where the stores lie meanwhile")
    parser.add_argument("--only", choices=["virtual", "receipts"])
    parser.add_argument("--free", action="store_true", help="charge engines and code alone")
    parser.add_argument("--server", choices=["ceph", "ministack"], help="for the receipts")
    parser.add_argument("--rows-of", help="finished run with stages of the same names")
    parser.add_argument("--store", default=DEFAULT_STORE, help="of the run of --rows-of")
    parser.add_argument("--costs", type=Path, default=None, help="file for what shards took")
    arguments = parser.parse_args(words)
    for build, options in OPTIONS.items():
        given = [name for name in options if getattr(arguments, name) != parser.get_default(name)]
        if given and arguments.only not in (None, build):
            option = given[0].replace("_", "-")
            parser.error(f"--{option} is of {build}, which --only {arguments.only} leaves out")
    return arguments


def main() -> None:
    """Measure and print."""
    arguments = asked()
    texts = texts_of(arguments.problems, arguments.limit)
    given = {}
    if arguments.rows_of:
        given = rows_by_stage(Run.open(open_store(arguments.store), arguments.rows_of))
    for name in ("receipts", "virtual"):
        if arguments.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder, ExitStack() as held:
            config = configuration(Path(folder), texts, arguments.shard_size, arguments.parallel)
            if name == "virtual":
                virtual(config, arguments.gpus, arguments.costs, arguments.free)
                continue
            if arguments.server:
                server = s3_server(arguments.server, Path(folder) / "s3")
                server.start()
                held.callback(server.stop)
                config = replace(config, store=server.url("scale"))
            receipts(config, given)


if __name__ == "__main__":
    main()
