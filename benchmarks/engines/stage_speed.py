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
the sandbox; what plays the GPU then costs time too.

Not in it: the cost of prompts, the KV cache's size, Ray's calls.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from actors.engines.contract import Chat, EngineSettings, Reply, Sampling
from actors.engines.healing import Healed, uncut_by
from actors.sandbox.opening import open_sandbox
from actors.sandbox.paced import PacedSandbox
from actors.workers.contract import Processor
from benchmarks import long_texts, paper_world
from benchmarks.saturation import vllm_requests
from benchmarks.shapes import SHAPES, write_folder
from benchmarks.stepped_core import ProcessorLoop, SpokenEngine, asked, worked
from benchmarks.virtual_time import TimedSandbox
from launch.config import validate
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.local_cluster import LocalCluster
from workflows.formats import prompts, steps
from workflows.runs.configuration import RunConfig
from workflows.runs.starting import start_run
from workflows.runs.workers import StageMaker
from workflows.schedule.driver import Driver
from workflows.schedule.events import Happened
from workflows.schedule.schedule import RolePlan, Schedule
from workflows.scoring.settings import ScoreConfig

DEMO = Path(__file__).parents[2] / "demo" / "models" / "rationale"
ROLES = {
    "sample": "policy", "estimate": "completer", "rationalize": "rationale", "score": "verifier"
}  # fmt: skip
ITEMS = {"sample": 192, "estimate": 32, "rationalize": 192, "score": 1536}
"""Problems, or responses, of each stage."""
TARGET = 0.95


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


class Tap:
    """An engine that notes what is asked of it."""

    def __init__(self, engine: SpokenEngine) -> None:
        self._engine = engine
        self.spell = engine.spell
        self.asked: list[tuple[Chat, Sampling]] = []
        self.tokens = 0

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Pass a request on."""
        self.asked.append((chat, sampling))
        reply = await self._engine.generate(chat, sampling)
        self.tokens += sum(each.tokens for each in reply.completions)
        return reply

    async def close(self) -> None:
        """The engine is the bench's."""


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
        self._folder = folder
        self._model = model_folder(folder)
        self._script = long_texts.SCRIPTS[self.role]
        self.config = configuration(arguments, stage, folder)

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
        asked, figures = await self._staged(run)
        return await self._compared(asked, figures)

    async def _before(self, run: Run) -> None:
        """The stages before it, by engines that take no time."""
        at = [spec.name for spec in self.config.road].index(self.stage)
        if not at:
            return
        from actors.engines.scripted import ScriptedEngine

        maker = StageMaker(self.config, run.name)

        def stages(role: str) -> Mapping[str, Processor]:
            if role == "cpu":
                return maker.pure()
            return maker.around(role, ScriptedEngine(long_texts.SCRIPTS[role]), None)

        cluster = LocalCluster(run, stages, road=self.config.road)
        await self._driven(cluster, run, Watched(""), at)

    async def _driven(self, cluster: LocalCluster, run: Run, watched: Watched, upto: int) -> None:
        least, most = self.config.cluster.parallel_shards, self.config.cluster.most_parallel_shards
        road, done = self.config.road[:upto], {}
        roles = {
            role: RolePlan(1, least, 1, most_parallel=most) for role in self.config.engines
        } | {"cpu": RolePlan(0, 8, 1)}
        done = {spec.name: set(run.receipts(spec.name)) for spec in road}
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
            if self.arguments.profile:
                import cProfile

                profile = cProfile.Profile()
                profile.enable()
            await self._driven(
                LocalCluster(run, stages, road=self.config.road), run, watched, at + 1
            )
            if self.arguments.profile:
                profile.disable()
                profile.dump_stats(self.arguments.profile)
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


def model_folder(folder: Path) -> Path:
    """A folder of the 7B shape with the demo's tokenizer, whose core nobody loads."""
    made = folder / "model"
    if not made.exists():
        shape = replace(SHAPES["tiny"], vocab_size=1024)
        write_folder(shape, made, context=32768)
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            (made / file).write_bytes((DEMO / file).read_bytes())
    return made


def configuration(arguments: argparse.Namespace, stage: str, folder: Path) -> RunConfig:
    """A run of the stage with scripted models; shards as they are by default."""
    items = arguments.items or ITEMS[stage]
    texts = [f"What is {number} + {number}?" for number in range(items)]
    sandbox = {
        "sessions": arguments.sessions,
        "slots": arguments.slots if not arguments.real else 0,
    }
    common: dict[str, Any] = {"run": "speed", "store": f"file:{folder}/store", "sandbox": sandbox}
    engine = {"kind": "scripted", "model": "benchmarks.long_texts:policy"}
    if stage == "score":
        file = folder / "responses.jsonl"
        file.write_text(
            "".join(json.dumps(response(at, text)) + "\n" for at, text in enumerate(texts))
        )
        raw = common | {"responses": str(file), "models": {"verifier": engine}}
        return TypeAdapter(ScoreConfig).validate_python(raw)
    few = {"correct": 1, "incorrect": 1}
    sampled = {"sample": {"cap": 128}, "estimate": {"cap": 128, **few}, "rationalize": {"cap": 32}}
    thrifty = {"k_hard": 1, "k_medium": 1, "k_easy": 1, "probe": 1}
    return validate(
        common
        | {
            "problems": str(paper_world.write_problems(texts, folder / "problems.jsonl")),
            "shard_size": 16,
            "models": {role: engine for role in ("policy", "completer", "rationale")},
            "stages": {
                "sample": sampled[stage],
                "estimate": thrifty if stage == "rationalize" else {},
            },
        },
        "speed",
    )


def response(at: int, text: str) -> dict[str, Any]:
    """A solution to score, as the policy writes it."""
    written = long_texts.policy(prompts.policy_chat(text), at * 7919)
    return {"id": f"r{at}", "problem": text, "steps": list(steps.split(steps.header(1) + written))}


def table(found: list[Figures]) -> str:
    """For people."""
    head = (
        f"{'stage':<12} {'in flight':>9} {'tokens':>10} {'raw/s':>8} {'stage/s':>8} {'share':>6}"
        f" {'whole':>6} {'ramp s':>7} {'drain s':>8} {'raw drain s':>12} {'busy':>5} {'raw':>5} {'shards':>6}"
    )
    return "\n".join(
        [head]
        + [
            f"{of.stage:<12} {of.in_flight:>9} {of.tokens:>10,} {of.raw:>8,.0f} {of.speed:>8,.0f}"
            f" {of.share:>6.3f} {of.whole:>6.3f} {of.ramp_s:>7.1f} {of.drain_s:>8.1f}"
            f" {of.raw_drain_s:>12.1f} {of.busy:>5.2f} {of.raw_busy:>5.2f} {of.shards:>6}"
            for of in found
        ]
    )


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
    options.add_argument("--sessions", type=int, default=0, help="of code; 0: as by default")
    options.add_argument("--slots", type=int, default=16, help="blocks of code at once")
    options.add_argument("--block", type=float, default=0.1, help="seconds of a block")
    options.add_argument("--real", action="store_true", help="the clock's time, the real sandbox")
    options.add_argument("--profile", type=Path, help="where to write a profile of the stage")
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
