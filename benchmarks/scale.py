"""The paper's whole build in virtual time: the real schedule, real commits, no tokens.

    python -m benchmarks.scale [--problems FILE] [--gpus 64] [--paths 2048] [--folder DIR]

Three figures:
  idle       engine seconds in which a loaded engine had nothing to do, outside start and drain
  memory     growth of the driver's resident memory over the build, and its peak
  receipts   (stage, shard) receipts a second through publish, a local store and the schedule

The work of a shard follows from its problems: a seeded difficulty decides how many samples are
drawn (up to `--paths`), how many rollouts every step gets (K of 128, 64 or 32, none after the
first zero) and how long rationales are. How long a request takes is the scripted engine's latency
model (`actors.scripted_engine.Latency`), set so that an engine with all its sequences in flight
makes the tokens published for one H100 (6,443 a second for an 8B model, 2,078 for a 32B one). The
engines themselves are not run: a shard takes the time of its requests, as many at once as fit.

Invariant: everything but the receipts' rate follows from the seed and the input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from actors.engine import EngineSettings
from actors.scripted_engine import Latency
from storage.commits import Receipt
from storage.layout import KINDS
from storage.records import Problem
from storage.runs import Run
from storage.specs import ShardPlan, Spec, input_digest
from storage.stores import open_store
from tests.simulated_cluster import Engines, SimulatedCluster, VirtualClock
from workflows.drive import Driver
from workflows.road import ROAD, STAGE_NAMES
from workflows.schedule import RolePlan, Schedule, Task

IN_FLIGHT = EngineSettings().max_in_flight
SMALL = Latency(request_s=0.02, prompt_token_s=2e-5, token_s=IN_FLIGHT / 6_443)
LARGE = Latency(request_s=0.02, prompt_token_s=1e-4, token_s=IN_FLIGHT / 2_078)
PROMPT_TOKENS, ANSWER_TOKENS, RATIONALE_TOKENS = 150, 250, 4_000
PATHS, STEPS = 4, 8
PROBLEMS = 7_500
WRITERS = 64


@dataclass(frozen=True)
class Work:
    """Engine seconds of one problem in each model stage."""

    sample: float
    estimate: float
    rationalize: float


def work_of(rand: random.Random, most_paths: int) -> Work:
    """What a problem of some difficulty costs."""
    right = min(0.98, max(0.02, rand.betavariate(1.6, 1.0)))
    rarer = min(right, 1 - right)
    samples = min(most_paths, max(32, round(4 / rarer)))
    k = 128 if right < 0.1 else 32 if right >= 0.9 else 64
    states = sum(rand.randint(3, STEPS) for _ in range(PATHS))
    def seconds(latency: Latency, sequences: float, tokens: float) -> float:
        """Of an engine that is full: `IN_FLIGHT` sequences at once."""
        return sequences / IN_FLIGHT * latency.seconds(PROMPT_TOKENS, round(tokens))

    return Work(
        seconds(SMALL, samples, ANSWER_TOKENS),
        seconds(SMALL, 32 + k * states, ANSWER_TOKENS / 2),
        seconds(LARGE, PATHS, RATIONALE_TOKENS * rand.uniform(0.5, 1.5)),
    )


def problems_of(file: Path | None) -> list[Problem]:
    """The file's first 7,500 problems, or as many made up."""
    if file is None or not file.is_file():
        return [Problem(f"p/{i}", f"What is {i} + {i}?", str(2 * i)) for i in range(PROBLEMS)]
    with file.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(PROBLEMS), lines, strict=False)]
    return [Problem(row["problem_id"], row["problem"], row["answer"]) for row in rows]


@dataclass(frozen=True)
class Figures:
    """What one simulated build came to."""

    virtual_hours: float
    idle_share: float
    loading_share: float
    switches: int
    seconds: float
    memory_mb: list[float]
    """Resident memory of this process, at every tenth of the build."""


def memory_mb() -> float:
    """Resident memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def simulate(work: list[list[Work]], gpus: int, parallel: int) -> Figures:
    """Build all shards; the last model's worker takes four GPUs."""
    roles: Mapping[str, RolePlan] = {
        "policy": RolePlan(1, parallel, gpus),
        "completer": RolePlan(1, parallel, gpus),
        "rationale": RolePlan(4, parallel, gpus),
        "cpu": RolePlan(0, 8, 4),
    }

    def seconds(task: Task, rand: random.Random) -> float:
        shard = work[task.shard]
        if task.stage in ("sample", "estimate", "rationalize"):
            engine = sum(getattr(one, task.stage) for one in shard)
            share = 4 if task.stage == "rationalize" else 1
            return float(engine * parallel / share) * rand.uniform(0.9, 1.1)
        return 0.2

    clock = VirtualClock()
    schedule = Schedule(ROAD, len(work), {}, roles, gpus, window=64, clock=clock)
    cluster = SimulatedCluster(schedule, clock, roles, seconds, open_s=90.0)
    marks: dict[str, tuple[float, Engines]] = {}
    memory = [memory_mb()]
    started = time.perf_counter()
    while cluster.step():
        done = sum(cluster.committed.values())
        if done * 10 >= len(memory) * len(work) * len(ROAD):
            memory.append(memory_mb())
        now = Engines(**vars(cluster.engines))
        if "start" not in marks and cluster.committed["export"]:
            marks["start"] = (clock.now, now)
        if "drain" not in marks and cluster.committed["sample"] == len(work):
            marks["drain"] = (clock.now, now)
    begin, end = marks["start"][1], marks["drain"][1]
    busy, idle, loading = (
        getattr(end, name) - getattr(begin, name) for name in ("busy", "idle", "loading")
    )
    whole = busy + idle + loading
    return Figures(
        clock.now / 3600,
        idle / whole,
        loading / whole,
        schedule.switches,
        time.perf_counter() - started,
        memory,
    )


async def receipts(folder: Path, problems: list[Problem], shards: int) -> int:
    """Publish every (stage, shard) of a run, as many at once as workers would, under the driver."""
    spec = Spec({}, input_digest(problems), ShardPlan(len(problems), 1), {}, None)
    run = Run.start(open_store(f"file://{folder}"), "scale", spec)
    cluster = Publishers(run)
    roles: Mapping[str, RolePlan] = {
        str(stage.role): RolePlan(slots=0, parallel=8, most=WRITERS // 8) for stage in ROAD
    }
    schedule = Schedule(ROAD, shards, {}, roles, slots=0, window=256)
    await Driver(schedule, cluster, lambda event: None).drive()
    return cluster.won


class Publishers:
    """Workers that commit an empty shard at once: what is left is the store and the driver."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._threads = ThreadPoolExecutor(WRITERS)
        self.won = 0

    async def open(self, worker: int, role: str) -> None:
        """Nothing to load."""

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        """Publish."""
        publish = partial(self._run.publish, stage, shard, KINDS[stage], [])
        receipt = await asyncio.get_running_loop().run_in_executor(self._threads, publish)
        self.won += receipt.won
        return receipt

    isolate = run

    async def close(self, worker: int) -> None:
        """Nothing to release."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=Path, default=None)
    parser.add_argument("--gpus", type=int, default=64)
    parser.add_argument("--paths", type=int, default=2048)
    parser.add_argument("--shard-size", type=int, default=4)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--receipts", type=int, default=400, help="shards of the receipts' test")
    parser.add_argument("--folder", type=Path, default=None, help="store of the receipts' test")
    asked = parser.parse_args()
    problems = problems_of(asked.problems)
    rand = random.Random(0)
    each = [work_of(rand, asked.paths) for _ in problems]
    size = asked.shard_size
    work = [each[i : i + size] for i in range(0, len(each), size)]
    found = simulate(work, asked.gpus, asked.parallel)
    print(
        f"{len(problems):,} problems in {len(work):,} shards on {asked.gpus} GPUs: "
        f"{found.virtual_hours:.2f} virtual hours in {found.seconds:.1f} s"
    )
    print(
        f"idle {100 * found.idle_share:.2f} %, loading {100 * found.loading_share:.2f} % of engine "
        f"time between the first export and the last sample; {found.switches} model switches"
    )
    print(
        f"memory {found.memory_mb[0]:.0f} MB at the start, {max(found.memory_mb):.0f} MB at most, "
        f"{found.memory_mb[-1]:.0f} MB at the end"
    )
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        started, cpu = time.perf_counter(), time.process_time()
        number = asyncio.run(receipts(Path(folder), problems, asked.receipts))
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert number == asked.receipts * len(STAGE_NAMES)
    print(
        f"{number:,} receipts in {seconds:.1f} s: {number / seconds:.0f} a second "
        f"({1e3 * cpu / number:.2f} CPU ms each), {WRITERS} writers"
    )


if __name__ == "__main__":
    main()
