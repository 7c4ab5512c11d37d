"""How many places of an engine are busy, stage by stage, if samples are of unequal length.

    python -m benchmarks.places [--problems 640] [--stages sample,estimate,rationalize]

A step of a GPU costs nearly the same for any number of sequences, so a place without one is lost.
The engines are scripted (`benchmarks.paper_world`) and have the places of `configs/genprm.yaml`. A
sample's time follows from its length alone. Lengths are lognormal of a given sigma, or those of
real responses (`benchmarks.response_lengths`). All else is what `build` does, in virtual time:
driver, schedule, workers, stages, quota rounds, shards of 16. With one engine slot and a wide
window, one stage runs at a time and all its shards wait for it.

  at work   the share of the places that hold a sequence, until no shard of the stage waits.
  last      the cost of the last rounds: places that are empty from then to the stage's end, in
            seconds of the whole engine, over all of the stage's seconds.

`before` is the former design: a request of 16 samples frees its places together, four shards are in
flight on a worker, and there are as many code sessions as the engine has places.

Invariant: all figures follow from the arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

from actors.engines.contract import Chat, Completion, EngineSettings, Sampling
from actors.engines.scripted import Clock, Latency, ScriptedEngine
from actors.sandbox.paced import PacedSandbox
from actors.workers.contract import Processor
from benchmarks import paper_world
from benchmarks.paper_world import IN_FLIGHT, SCRIPTS
from benchmarks.response_lengths import RESPONSE_CHARACTERS
from benchmarks.virtual_time import MeteredClock, Seconds, TimedSandbox
from launch.config import validate
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.local_cluster import LocalCluster
from tests.support.virtual_time import run_virtually
from workflows.builds.configuration import BuildConfig
from workflows.runs.starting import start_run
from workflows.runs.workers import StageMaker
from workflows.schedule.driver import Driver
from workflows.schedule.events import Happened
from workflows.schedule.schedule import RolePlan, Schedule

STAGE_OF = {"policy": "sample", "completer": "estimate", "rationale": "rationalize"}
STEP_S = {"policy": 0.08, "completer": 0.08, "rationale": 0.0154}
"""Seconds of a step: full engines make the tokens published for H100s (`benchmarks.scale`)."""
SIGMAS = (0.2, 0.35, 0.5, 0.7, 0.9)
BLOCKS_S = (0.1, 0.5, 2.0, 5.0)
_STANDARD = NormalDist()
_MEAN = sum(map(sum, RESPONSE_CHARACTERS)) / sum(map(len, RESPONSE_CHARACTERS))


class Shape(NamedTuple):
    """What is varied."""

    sigma: float | None
    """Of the lognormal by which lengths spread; None: the real responses' lengths."""
    block_s: float = 0.5
    """Seconds of a block of code."""
    before: bool = False

    def length(self, chat: Chat, seed: int) -> float:
        """How long a sample is, 1 on average; pure in the problem and the seed."""
        drawn = paper_world.share(seed * 31 + 7)
        if self.sigma is not None:
            normal = _STANDARD.inv_cdf((drawn * (1 << 32) + 0.5) / ((1 << 32) + 1))
            return exp(self.sigma * normal - self.sigma**2 / 2)
        problem = int(paper_world.answer_of(chat.messages[1].content[:200]))
        lengths = RESPONSE_CHARACTERS[problem % len(RESPONSE_CHARACTERS)]
        return lengths[int(drawn * len(lengths))] / _MEAN


class UnequalEngine(ScriptedEngine):
    """A scripted engine whose samples take as long as they are told to, whatever they say."""

    def __init__(self, role: str, settings: EngineSettings, shape: Shape, clock: Clock) -> None:
        latency = Latency(token_s=STEP_S[role])
        super().__init__(SCRIPTS[role], settings, latency=latency, clock=clock)
        self._shape = shape

    def _sample(self, chat: Chat, sampling: Sampling, index: int, room: int) -> Completion:
        sample = super()._sample(chat, sampling, index, room)
        length = self._shape.length(chat, sampling.seed + index)
        return replace(sample, tokens=max(1, round(paper_world.WORD * sample.tokens * length)))


class PlacesCluster(LocalCluster):
    """Workers around engines whose places are counted."""

    def __init__(self, run: Run, config: BuildConfig, shape: Shape) -> None:
        super().__init__(run, self._stages)
        self._config = config
        self._maker = StageMaker(config, run.name)
        self._shape = shape
        self.clocks: dict[str, MeteredClock] = {}
        """Of each stage's engine."""
        self.timed: TimedSandbox | None = None

    def _stages(self, role: str) -> Mapping[str, Processor]:
        if role == "cpu":
            return self._maker.pure()
        settings: EngineSettings = self._config.engine(role)
        clock = self.clocks[STAGE_OF[role]] = MeteredClock(1, IN_FLIGHT[role])
        engine = UnequalEngine(role, settings, self._shape, clock)
        sandbox = self._config.sandbox.for_in_flight(settings.in_flight)
        self.timed = timed = TimedSandbox(
            sandbox.most_sessions, sandbox.most_sessions, self._shape.block_s
        )
        paced = timed if self._shape.before else PacedSandbox(timed, settings.in_flight)
        return self._maker.around(role, engine, paced)


@dataclass
class Found:
    """One stage's places."""

    begun: set[int] = field(default_factory=set)
    most: int = 0
    """Shards in flight at once."""
    most_sessions: int = 0
    """Sessions of code open at once."""
    first: Seconds = field(default_factory=Seconds)
    dry: Seconds = field(default_factory=Seconds)
    """When the last shard was begun."""
    last: Seconds = field(default_factory=Seconds)

    @property
    def at_work(self) -> float:
        """Share of the places, until no shard waits any more."""
        return (self.dry - self.first).at_work or 0.0

    @property
    def tail(self) -> float:
        """Share of the stage's seconds that its last rounds cost."""
        lost = (self.last - self.dry).loaded - (self.last - self.dry).busy
        return lost / (self.last - self.first).loaded


class Watched:
    """What the driver tells, stage by stage."""

    def __init__(self, cluster: PlacesCluster) -> None:
        self._cluster = cluster
        self._shards = cluster._run.spec.plan.shards
        self._running: dict[str, int] = {}
        self.found: dict[str, Found] = {}

    def happened(self, event: Happened) -> None:
        """Take note."""
        if event.task is None or event.task.stage not in STAGE_OF.values():
            return
        stage = event.task.stage
        of, now = self.found.setdefault(stage, Found()), self._cluster.clocks[stage].seconds()
        if event.what == "started":
            self._running[stage] = self._running.get(stage, 0) + 1
            of.most = max(of.most, self._running[stage])
            of.first = of.first if of.begun else now
            if event.task.shard not in of.begun:
                of.begun.add(event.task.shard)
                of.dry = now
        elif event.what == "committed":
            self._running[stage] -= 1
            of.last = now
            of.most_sessions = self._cluster.timed.most if self._cluster.timed else 0


def configuration(
    folder: Path, problems: int, shape: Shape, stages: Mapping[str, Mapping[str, float]]
) -> BuildConfig:
    """`configs/genprm.yaml`'s numbers, which are the defaults, over scripted models."""
    texts = [f"What is {number} + {number}?" for number in range(problems)]
    shards = -(-problems // 16)
    part, most, sessions = (16, 4, IN_FLIGHT["rationale"]) if shape.before else (1, 16, 0)
    models = {
        role: {
            "kind": "scripted", "model": f"benchmarks.paper_world:{role}",
            "max_in_flight": places, "part": part,
        }
        for role, places in IN_FLIGHT.items()
    }  # fmt: skip
    raw = {
        "run": "places",
        "problems": str(paper_world.write_problems(texts, folder / "problems.jsonl")),
        "store": f"file:{folder}/store",
        "shard_size": 16,
        "models": models,
        "stages": stages,
        "sandbox": {"sessions": sessions},
        "cluster": {"most_parallel_shards": most, "window": shards, "workers_per_role": 1},
    }
    return validate(raw, "places")


def measured(
    problems: int, shape: Shape, stages: Mapping[str, Mapping[str, float]] | None = None
) -> dict[str, Found]:
    """Build in virtual time; what became of each stage's places. `stages`: other settings."""
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(Path(folder), problems, shape, stages or {})
        run = start_run(config, open_store(config.store), None)

        async def build() -> dict[str, Found]:
            cluster = PlacesCluster(run, config, shape)
            watched = Watched(cluster)
            await Driver(_schedule(config, run), cluster, watched.happened, run=run.name).drive()
            return watched.found

        return run_virtually(build())


def _schedule(config: BuildConfig, run: Run) -> Schedule:
    """One slot, for which the models take turns."""
    least, most = config.cluster.parallel_shards, config.cluster.most_parallel_shards
    roles = {role: RolePlan(1, least, 1, most_parallel=most) for role in IN_FLIGHT}
    plan, clock = run.spec.plan.shards, asyncio.get_running_loop().time
    return Schedule(
        config.road, plan, {}, roles | {"cpu": RolePlan(0, 8, 1)}, 1, config.cluster.window,
        clock=clock,
    )  # fmt: skip


def rows(problems: int, shape: Shape, stages: Sequence[str]) -> list[str]:
    """Table rows: stage, lengths, code, and before and after."""
    before, after = measured(problems, shape._replace(before=True)), measured(problems, shape)
    lengths = "real" if shape.sigma is None else f"{shape.sigma:.2f}"
    return [
        f"{stage:<12} {lengths:>6} {shape.block_s if stage == 'rationalize' else '':>6}"
        + "".join(
            f" {100 * places[stage].at_work:>8.1f} {100 * places[stage].tail:>6.1f}"
            f" {places[stage].most:>7}"
            for places in (before, after)
        )
        for stage in stages
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=640)
    parser.add_argument("--stages", default="sample,estimate,rationalize")
    parser.add_argument("--sigmas", type=float, nargs="*", default=SIGMAS)
    parser.add_argument("--blocks", type=float, nargs="*", default=BLOCKS_S)
    arguments = parser.parse_args()
    stages = arguments.stages.split(",")
    print(f"{'':<26}  before: % at work, last, shards   after: % at work, last, shards")
    for shape in [Shape(None), *map(Shape, arguments.sigmas)]:
        print("\n".join(rows(arguments.problems, shape, stages)), flush=True)
    if "rationalize" in stages:
        for block_s in arguments.blocks:
            shape = Shape(0.5, block_s)
            print("\n".join(rows(arguments.problems, shape, ["rationalize"])), flush=True)


if __name__ == "__main__":
    main()
