"""Does scoring keep vLLM busy while code is run? Its generated tokens per second over raw vLLM's.

Scoring: the `Verifier` stage over a shard of responses from the demo world, with several histories
each. Every code block runs in the sandbox; prompts are rendered call by call. Raw: exactly the
requests that this scoring sent, all at once and straight to the same engine, so that none waits for
code or for the step before. All passes start with an empty prefix cache and run in turns in one
process. Each pair has other seeds. The ratio is the median over pairs. Beside it are printed:

    full      the ratio until fewer histories (raw: requests) are left than the engine has places
    beside    raw again while the same code runs in the sandbox and nobody waits for it, over raw:
              what the processors leave, where engine and code share them
    work      processor seconds of the engine for raw over those for scoring: what emptier steps
              cost, whatever else the machine does
    under way, code runs, ms    mean requests in the engine; blocks, and how long one ran

    python -m benchmarks.score_saturation --model .stepmill/models/genprm-demo
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import psutil

from actors.engines.contract import Chat, EngineSettings, Sampling
from actors.engines.vllm import VllmEngine
from actors.sandbox.contract import Sandbox, SandboxSettings
from actors.sandbox.opening import open_sandbox
from actors.sandbox.paced import PacedSandbox
from actors.sandbox.session import Interpreter
from benchmarks.saturation import (
    Measured,
    Span,
    Stopwatch,
    Tap,
    asked_directly,
    compared,
    concluded,
    forget,
    full_rate,
    parser,
    table,
)
from demo import solutions, world
from storage.rows.kinds import RESPONSES, ShardRows
from storage.rows.records import Response, Verification
from workflows.formats.verification import EXECUTING, VerifySettings
from workflows.runs.workers import StageMaker
from workflows.scoring.settings import ScoreConfig, ScoreModels

TARGET = 0.8


@dataclass(frozen=True)
class Scored(Measured):
    """One pass, and what was under way in it."""

    full_rate: float = 0.0
    """Tokens a second until the engine could no longer be filled."""
    engine_cpu_s: float = 0.0
    """Processor time of the engine's own process."""
    under_way: float = 0.0
    """Requests in the engine, on average over the time."""
    code_runs: int = 0
    sandbox_s: float = 0.0
    """Seconds in which blocks ran, summed; waiting for an interpreter is not in it."""


class EngineWatch(Stopwatch):
    """Reads the processor time of the engine too."""

    def __init__(self) -> None:
        below = psutil.Process().children(recursive=True)
        (self._engine,) = (each for each in below if "EngineCore" in " ".join(each.cmdline()))
        self._before = sum(self._engine.cpu_times()[:2])
        super().__init__()

    def engine_s(self) -> float:
        """Its seconds since this was made."""
        return sum(self._engine.cpu_times()[:2]) - self._before


class Bench:
    """The same requests for the stage and for the bare engine."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        settings = EngineSettings(
            model=str(arguments.model.resolve()),
            max_in_flight=arguments.in_flight,
            dtype=arguments.dtype,
            options={"enforce_eager": True} if arguments.eager else {},
        )
        sandbox = SandboxSettings(slots=arguments.slots, sessions=arguments.sessions)
        self.config = ScoreConfig(
            run="bench",
            responses="",
            models=ScoreModels(verifier=settings),
            verify=VerifySettings(mode=arguments.mode, histories=arguments.histories),
            sandbox=sandbox.for_in_flight(arguments.in_flight),
        )
        self.responses = tuple(responses(arguments.responses))

    async def score(
        self, engine: VllmEngine, sandbox: Sandbox | None, seed: int
    ) -> tuple[Scored, Tap, Sequence[Verification]]:
        """The stage over one shard of all responses."""
        tap = Tap(engine)
        config = replace(self.config, verify=replace(self.config.verify, seed=seed))
        stage = StageMaker(config, config.run).around("verifier", tap, sandbox)["score"]
        await forget(engine)
        watch = EngineWatch()
        result = await stage.run(ShardRows({RESPONSES: self.responses}))
        scored = self._measured(tap.spans, watch)
        runs = [run for row in result.rows for run in row.executions]
        print(f"{result.counts}, dropped {len(result.drops)}", file=sys.stderr)
        code_s = sum(run.wall_s for run in runs)
        return replace(scored, code_runs=len(runs), sandbox_s=code_s), tap, result.rows

    async def raw(self, engine: VllmEngine, asked: list[tuple[Chat, Sampling]]) -> Scored:
        """Everything that was asked, at once, straight to vLLM."""
        await forget(engine)
        watch = EngineWatch()
        return self._measured(await asked_directly(engine, asked), watch)

    async def beside(
        self, engine: VllmEngine, sandbox: Sandbox, tap: Tap, rows: Sequence[Verification]
    ) -> Scored:
        """The same, while the code of all histories runs."""

        async def history(row: Verification) -> None:
            async with Interpreter(sandbox, f"{row.response_id}/{row.history}") as interpreter:
                for run in row.executions:
                    await interpreter.run(run.code, self.config.sandbox.limits)

        await forget(engine)
        watch = EngineWatch()
        spans, *_ = await asyncio.gather(asked_directly(engine, tap.asked), *map(history, rows))
        return self._measured(spans, watch)

    def _measured(self, spans: Sequence[Span], watch: EngineWatch) -> Scored:
        seconds, worked = watch.read()
        return Scored(
            sum(span.tokens for span in spans), seconds, worked,
            full_rate(spans, self.arguments.in_flight), watch.engine_s(),
            sum(span.ended - span.began for span in spans) / seconds,
        )  # fmt: skip

    async def run(self) -> dict[str, Any]:
        """Measure in turns; `ratio` is the median of the pairs' ratios."""
        engine = await VllmEngine.open(self.config.models.verifier)
        executes = self.arguments.mode in EXECUTING
        boxes = open_sandbox(self.config.sandbox) if executes else None
        paced = PacedSandbox(boxes, self.arguments.in_flight) if boxes else None
        scored, raws, besides = [], [], []
        try:
            if boxes is not None:
                await boxes.start()
            await self.score(engine, paced, -1)  # warm: kernels, containers, imports
            for pair in range(self.arguments.pairs):
                # Scoring says what to ask, so it goes first; drift of the machine is seen between
                # pairs, whose raw passes are repeated after them.
                measured, tap, rows = await self.score(engine, paced, pair)
                scored.append(measured)
                raws.append(await self.raw(engine, tap.asked))
                if paced is not None:
                    besides.append(await self.beside(engine, paced, tap, rows))
        finally:
            await engine.close()
            if boxes is not None:
                await boxes.close()
        pairs = list(zip(scored, raws, strict=True))
        return compared(
            raws,
            scored,
            TARGET,
            full=[mine.full_rate / raw.full_rate for mine, raw in pairs],
            work=[raw.engine_cpu_s / mine.engine_cpu_s for mine, raw in pairs],
            beside=[each.rate / raw.rate for each, raw in zip(besides, raws, strict=False)],
            model=str(self.arguments.model),
            mode=self.arguments.mode,
            responses=len(self.responses),
            histories=self.arguments.histories,
            in_flight=self.arguments.in_flight,
            slots=self.arguments.slots,
            sessions=self.config.sandbox.sessions,
        )


def responses(count: int) -> list[Response]:
    """Solutions of the demo world that slip now and then."""
    sampled = []
    for number, problem in enumerate(world.sample(count, 0, "heldout")):
        written = solutions.write(problem, solutions.Habits(slip=0.1), random.Random(number))
        sampled.append(
            Response(f"r{number}", f"p{number}", problem.text, list(written.steps), "bench")
        )
    return sampled


def shown(found: dict[str, Any]) -> str:
    """The measurement for people."""

    def more(raw: dict[str, Any], ours: dict[str, Any]) -> str:
        each = 1000 * ours["sandbox_s"] / max(1, ours["code_runs"])
        return f"; {raw['under_way']:.0f}, {ours['under_way']:.0f}; {ours['code_runs']}, {each:.1f}"

    lines = [
        table(
            found,
            f"{found['responses']} responses x {found['histories']} histories, mode "
            f"{found['mode']}, {found['in_flight']} in flight, {found['sessions']} interpreters of "
            f"which {found['slots']} run",
            "; under way raw, ours; code runs, ms each",
            more,
        )
    ]
    for name in ("full", "beside", "work"):
        if found[name]:
            each = ", ".join(f"{ratio:.3f}" for ratio in found[name])
            lines.append(f"{name}: median {statistics.median(found[name]):.3f} ({each})")
    return "\n".join(lines)


def main() -> int:
    """Measure and print; 1 below the target."""
    options = parser(__doc__, ".stepmill/models/genprm-demo", in_flight=48)
    options.add_argument("--mode", default="full")
    options.add_argument("--responses", type=int, default=48)
    options.add_argument("--histories", type=int, default=2)
    options.add_argument("--slots", type=int, default=max(4, os.cpu_count() or 4))
    options.add_argument("--sessions", type=int, default=0, help="0: twice as many as in flight")
    return concluded(Bench(options.parse_args()).run(), shown)


if __name__ == "__main__":
    raise SystemExit(main())
