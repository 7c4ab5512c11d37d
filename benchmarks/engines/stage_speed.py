"""Does each stage keep a GPU busy? Its tokens per second over those of the bare engine.

    python -m benchmarks.stage_speed [--stages sample,estimate,rationalize,score]

The GPU is played (`benchmarks.stepped_core`): 512 places at 30,000 tokens/s, as one H200 has it for
a 7B shape; a step costs the same however full it is. All in front of it is real: driver, schedule,
worker, store, stage, rendering, admission, vLLM's front end with its detokenizer, all in one
thread. Time is that thread's processor time and what it waits for (`ProcessorLoop`), so that what
else the machine does changes little. Texts have the length of real ones (`benchmarks.long_texts`).

  raw      the engine asked directly for what the stage asked, all at once, until its queue is dry
  stage    the stage, from its full engine until no shard waits any more
  whole    the whole of the stage over the whole of raw, both with their drains
  drain    seconds of the whole engine that the stage's last requests leave empty; and raw's

Code takes a fixed time (`--block`, in seconds). With `--real` time is the clock's and code runs in
the sandbox; what plays the GPU then costs time too. With `--profile` the share of each package in
the thread's own time is printed, and its dearest functions; the figures beside it are then too low.

Not in it: the cost of prompts, the KV cache's size, Ray's calls.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from actors.engines.contract import Chat, EngineSettings, Sampling
from actors.engines.healing import Healed, uncut_by
from actors.engines.scripted import ScriptedEngine
from actors.sandbox.opening import open_sandbox
from actors.sandbox.paced import PacedSandbox
from actors.workers.contract import Processor
from benchmarks import long_texts
from benchmarks.long_runs import ROLES, configuration, model_folder
from benchmarks.saturation import Tap, vllm_requests
from benchmarks.stepped_core import ProcessorLoop, SpokenEngine, asked, worked
from benchmarks.virtual_time import TimedSandbox
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.local_cluster import LocalCluster
from workflows.runs.starting import start_run
from workflows.runs.workers import StageMaker
from workflows.schedule.driver import Driver
from workflows.schedule.events import Happened
from workflows.schedule.schedule import RolePlan, Schedule

TARGET = 0.95
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Figures:
    """One stage."""

    stage: str
    in_flight: int
    tokens: int
    raw: float
    """Tokens a second, as the others."""
    speed: float
    share: float
    whole: float
    ramp_s: float
    """Until the engine was full for the first time; its empty places, in seconds of all."""
    drain_s: float
    raw_drain_s: float
    busy: float
    """Processor seconds of the thread by seconds gone by."""
    raw_busy: float
    shards: int
    """Most in flight at once."""


class Watched:
    """When the shards of one stage were begun."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._begun: set[int] = set()
        self._running = 0
        self.dry = 0.0
        """When the last one was."""
        self.most = 0

    def happened(self, event: Happened) -> None:
        """Take note."""
        if event.task is None or event.task.stage != self._stage:
            return
        if event.what == "started":
            self._running += 1
            self.most = max(self.most, self._running)
            if event.task.shard not in self._begun:
                self._begun.add(event.task.shard)
                self.dry = asyncio.get_running_loop().time()
        elif event.what == "committed":
            self._running -= 1


class Bench:
    """One stage in front of the played engine, and the engine alone."""

    def __init__(self, arguments: argparse.Namespace, stage: str, folder: Path) -> None:
        self.arguments, self.stage, self.role = arguments, stage, ROLES[stage]
        self._model = model_folder(folder)
        self._script = long_texts.SCRIPTS[self.role]
        sandbox = {
            "sessions": arguments.sessions,
            "slots": 0 if arguments.real else arguments.slots,
        }
        self.config = configuration(stage, arguments.items, arguments.shard_size, folder, sandbox)

    async def _engine(self, in_flight: int) -> SpokenEngine:
        step_s = self.arguments.places / self.arguments.rate
        settings = EngineSettings(
            model=str(self._model), max_in_flight=in_flight, max_model_len=16384
        )
        return await SpokenEngine.open(settings, step_s, self._script)

    async def measure(self) -> Figures:
        """The stage, then its requests alone."""
        run = start_run(self.config, open_store(self.config.store), None)
        await self._before(run)
        return await self._compared(*await self._staged(run))

    async def _before(self, run: Run) -> None:
        """The stages before it, by engines that take no time."""
        at = [spec.name for spec in self.config.road].index(self.stage)
        if not at:
            return
        maker = StageMaker(self.config, run.name)

        def stages(role: str) -> Mapping[str, Processor]:
            if role == "cpu":
                return maker.pure()
            return maker.around(role, ScriptedEngine(long_texts.SCRIPTS[role]), None)

        cluster = LocalCluster(run, stages, road=self.config.road)
        await self._driven(cluster, run, Watched(""), at)

    async def _driven(self, cluster: LocalCluster, run: Run, watched: Watched, upto: int) -> None:
        least, most = self.config.cluster.parallel_shards, self.config.cluster.most_parallel_shards
        road = self.config.road[:upto]
        roles = {
            role: RolePlan(1, least, 1, most_parallel=most) for role in self.config.engines
        } | {"cpu": RolePlan(0, 8, 1)}
        done = {spec.name: run.shards_of(spec.name) for spec in road}
        schedule = Schedule(
            road, run.spec.plan.shards, done, roles, 1, run.spec.plan.shards,
            clock=asyncio.get_running_loop().time,
        )  # fmt: skip
        await Driver(schedule, cluster, watched.happened, run=run.name).drive()

    async def _staged(self, run: Run) -> tuple[list[tuple[Chat, Sampling]], dict[str, Any]]:
        in_flight = self.arguments.in_flight or self.arguments.places
        engine = await self._engine(in_flight)
        tap, watched = Tap(engine), Watched(self.stage)
        maker = StageMaker(self.config, run.name)
        async with AsyncExitStack() as held:
            held.push_async_callback(engine.close)
            sandbox = await self._sandbox(in_flight, held)
            healed = Healed(tap, uncut_by(tap.spell)) if self.config.heal else tap

            def stages(role: str) -> Mapping[str, Processor]:
                return maker.pure() if role == "cpu" else maker.around(role, healed, sandbox)

            at = [spec.name for spec in self.config.road].index(self.stage)
            busy, began = worked(), now()
            cluster = LocalCluster(run, stages, road=self.config.road)
            with profiled(self.stage) if self.arguments.profile else nullcontext():
                await self._driven(cluster, run, watched, at + 1)
            seconds, busy = now() - began, worked() - busy
        steps_ = engine.core.steps
        full = next(
            (at for at, count in zip(steps_.ends, steps_.tokens, strict=True)
             if count >= 0.98 * in_flight), steps_.ends[0],
        )  # fmt: skip
        return tap.asked, {
            "tokens": tap.tokens, "seconds": steps_.ends[-1] - began, "steps": steps_,
            "full": full, "began": began, "dry": watched.dry, "shards": watched.most,
            "busy": busy / seconds,
        }  # fmt: skip

    async def _sandbox(self, in_flight: int, held: AsyncExitStack) -> Any:
        settings = self.config.sandbox.for_in_flight(in_flight).here()
        if self.arguments.real:
            sandbox: Any = open_sandbox(settings)
            await sandbox.start()
            held.push_async_callback(sandbox.close)
        else:
            slots = self.arguments.slots
            sandbox = TimedSandbox(settings.most_sessions, slots, self.arguments.block)
        return PacedSandbox(sandbox, in_flight)

    async def _compared(self, wanted: list[tuple[Chat, Sampling]], of: dict[str, Any]) -> Figures:
        engine = await self._engine(self.arguments.places)
        try:
            vllm = engine.vllm
            requests = vllm_requests(vllm._renderer, vllm._context, wanted)
            busy, began = worked(), now()

            async def one(number: int, chat: Chat, request: tuple[Any, Any]) -> int:
                asked.set(chat)
                sent = vllm._llm.generate(*request, f"raw-{number}")
                outputs = [output async for output in sent]
                return sum(len(done.token_ids) for done in outputs[-1].outputs)

            each = zip(wanted, requests, strict=True)
            given = await asyncio.gather(
                *(one(number, chat, request) for number, ((chat, _), request) in enumerate(each))
            )
            tokens, busy = sum(given), worked() - busy
        finally:
            await engine.close()
        alone = engine.core.steps
        dry = max(
            (at for at, count in zip(alone.ends, alone.waiting, strict=True) if count),
            default=alone.ends[-1],
        )
        steps_, whole_s = of["steps"], alone.ends[-1] - began
        raw = alone.rate(began, dry)
        speed = steps_.rate(of["full"], max(of["dry"], of["full"]))
        return Figures(
            stage=self.stage,
            in_flight=self.arguments.in_flight or self.arguments.places,
            tokens=of["tokens"],
            raw=raw,
            speed=speed,
            share=speed / raw,
            whole=(of["tokens"] / of["seconds"]) / (tokens / whole_s),
            ramp_s=lost(steps_, of["began"], of["full"], self.arguments.rate),
            drain_s=lost(steps_, of["dry"], steps_.ends[-1], self.arguments.rate),
            raw_drain_s=lost(alone, dry, alone.ends[-1], self.arguments.rate),
            busy=of["busy"],
            raw_busy=busy / whole_s,
            shards=of["shards"],
        )


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


def lost(done: Any, begin: float, end: float, rate: float) -> float:
    """Seconds of the whole engine that its empty places cost between two times."""
    return (end - begin) * (1 - done.rate(begin, end) / rate) if end > begin else 0.0


@contextmanager
def profiled(stage: str) -> Iterator[None]:
    """Print where the thread's own time went: by package, and its dearest functions."""
    profile = cProfile.Profile(time.thread_time)
    with profile:
        yield
    rows = [
        (own, calls, *where) for where, (_, calls, own, *_) in pstats.Stats(profile).stats.items()
    ]
    whole, packages = sum(own for own, *_ in rows), Counter[str]()
    for own, _, file, *_ in rows:
        packages[package(file)] += own
    print(f"{stage}: {whole:.1f} s profiled", file=sys.stderr)
    for name, own in packages.most_common(12):
        print(f"  {own / whole:6.1%} {name}", file=sys.stderr)
    for own, calls, file, line, function in sorted(rows, reverse=True)[:25]:
        print(f"  {own / whole:6.1%} {calls:9} {package(file)} {Path(file).name}:{line} {function}",
              file=sys.stderr)  # fmt: skip


def package(file: str) -> str:
    """The package, or our folder, that a function's file is of."""
    if file.startswith(str(ROOT)):
        return "/".join(Path(file).relative_to(ROOT).parts[:2])
    after = file.rpartition("site-packages/")[2] if "site-packages/" in file else ""
    return after.split("/")[0] or ("Python" if file.endswith(".py") else "built in")


def table(found: list[Figures]) -> str:
    """For people, as Markdown."""
    names = [field.name for field in fields(Figures)]
    lines = [names, ["---"] * len(names)]
    for of in found:
        values = [getattr(of, name) for name in names]
        lines.append(
            [f"{value:,.3f}" if isinstance(value, float) else f"{value}" for value in values]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def measured(arguments: argparse.Namespace, stage: str) -> Figures:
    """One stage in a loop and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        factory = None if arguments.real else ProcessorLoop
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(Bench(arguments, stage, Path(folder)).measure())


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--stages", default=",".join(ROLES))
    options.add_argument("--places", type=int, default=512, help="of the engine at its best")
    options.add_argument("--rate", type=float, default=30_000, help="its tokens a second when full")
    options.add_argument("--in-flight", type=int, help="of the stage, if not all places")
    options.add_argument("--items", type=int, help="problems or responses")
    options.add_argument("--shard-size", type=int, help="if not 16 problems or 32 responses")
    options.add_argument("--sessions", type=int, default=0, help="of code; 0: as by default")
    options.add_argument("--slots", type=int, default=16, help="blocks of code at once")
    options.add_argument("--block", type=float, default=0.1, help="seconds of a block")
    options.add_argument("--profile", action="store_true", help="where the thread's time goes")
    options.add_argument("--real", action="store_true", help="the clock's time, the real sandbox")
    return options


def main(given: list[str] | None = None) -> int:
    """Measure and print; 1 below the target."""
    arguments = parser().parse_args(given)
    found = [measured(arguments, stage) for stage in arguments.stages.split(",")]
    print(table(found), file=sys.stderr)
    print(json.dumps([asdict(of) for of in found], indent=1))
    return 0 if all(of.share >= TARGET for of in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
