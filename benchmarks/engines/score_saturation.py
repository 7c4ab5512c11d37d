"""Does scoring keep vLLM busy while code is run? Its generated tokens per second over raw vLLM's.

Scoring: the `Verifier` stage over a shard of responses from the demo world, with several histories
each. Every code block runs in the sandbox; prompts are rendered call by call. Raw: exactly the
requests that this scoring sent, all at once and straight to the same engine, so that none waits for
code or for the step before. Both start with an empty prefix cache and run in turns in one process.
Each pair has other seeds. The ratio is the median over pairs. Printed beside it are the seconds in
which code blocks ran, and the mean number of requests under way.

    python -m benchmarks.score_saturation --model .stepmill/models/genprm-demo
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from dataclasses import dataclass, replace
from typing import Any

from actors.engines.contract import Chat, EngineSettings, Sampling
from actors.engines.vllm import VllmEngine
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.opening import open_sandbox
from benchmarks.saturation import (
    Measured,
    Stopwatch,
    Tap,
    asked_directly,
    compared,
    concluded,
    forget,
    parser,
    table,
)
from demo import solutions, world
from storage.rows.kinds import RESPONSES, ShardRows
from storage.rows.records import Response
from workflows.formats.verification import EXECUTING, VerifySettings
from workflows.runs.workers import StageMaker
from workflows.scoring.settings import ScoreConfig, ScoreModels

TARGET = 0.8


@dataclass(frozen=True)
class Scored(Measured):
    """One pass, and what was under way in it."""

    requests: int = 0
    under_way: float = 0.0
    """Requests in the engine, on average over the time."""
    code_runs: int = 0
    sandbox_s: float = 0.0
    """Seconds in which blocks ran, summed; waiting for an interpreter is not in it."""


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
        self.config = ScoreConfig(
            run="bench",
            responses="",
            models=ScoreModels(verifier=settings),
            verify=VerifySettings(mode=arguments.mode, histories=arguments.histories),
            sandbox=SandboxSettings(slots=arguments.slots, sessions=arguments.sessions),
        )
        self.responses = tuple(responses(arguments.responses))

    async def score(self, engine: VllmEngine, sandbox: Any, seed: int) -> tuple[Scored, Tap]:
        """The stage over one shard of all responses."""
        tap = Tap(engine)
        config = replace(self.config, verify=replace(self.config.verify, seed=seed))
        stage = StageMaker(config, config.run).around("verifier", tap, sandbox)["score"]
        await forget(engine)
        watch = Stopwatch()
        result = await stage.run(ShardRows({RESPONSES: self.responses}))
        seconds, worked = watch.read()
        runs = [run for row in result.rows for run in row.executions]
        print(f"{result.counts}, dropped {len(result.drops)}", file=sys.stderr)
        return (
            Scored(
                tap.tokens, seconds, worked, len(tap.asked), tap.busy_s / seconds,
                len(runs), sum(run.wall_s for run in runs),
            ),
            tap,
        )  # fmt: skip

    async def raw(self, engine: VllmEngine, asked: list[tuple[Chat, Sampling]]) -> Scored:
        """Everything that was asked, at once, straight to vLLM."""
        await forget(engine)
        watch = Stopwatch()
        tokens, busy = await asked_directly(engine, asked)
        seconds, worked = watch.read()
        return Scored(tokens, seconds, worked, len(asked), busy / seconds)

    async def run(self) -> dict[str, Any]:
        """Measure in turns; `ratio` is the median of the pairs' ratios."""
        engine = await VllmEngine.open(self.config.models.verifier)
        executes = self.arguments.mode in EXECUTING
        sandbox = open_sandbox(self.config.sandbox) if executes else None
        scored, raws = [], []
        try:
            if sandbox is not None:
                await sandbox.start()
            await self.score(engine, sandbox, -1)  # warm: kernels, containers, imports
            for pair in range(self.arguments.pairs):
                # Scoring says what to ask, so it goes first; drift of the machine is seen between
                # pairs, whose raw passes are repeated after them.
                measured, tap = await self.score(engine, sandbox, pair)
                scored.append(measured)
                raws.append(await self.raw(engine, tap.asked))
        finally:
            await engine.close()
            if sandbox is not None:
                await sandbox.close()
        return compared(
            raws,
            scored,
            TARGET,
            model=str(self.arguments.model),
            mode=self.arguments.mode,
            responses=len(self.responses),
            histories=self.arguments.histories,
            in_flight=self.arguments.in_flight,
            slots=self.arguments.slots,
            sessions=self.arguments.sessions,
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

    return table(
        found,
        f"{found['responses']} responses x {found['histories']} histories, mode {found['mode']}, "
        f"{found['in_flight']} in flight, {found['sessions']} interpreters of which "
        f"{found['slots']} run",
        "; under way raw, ours; code runs, ms each",
        more,
    )


def main() -> int:
    """Measure and print; 1 below the target."""
    options = parser(__doc__, ".stepmill/models/genprm-demo", in_flight=48)
    options.add_argument("--mode", default="full")
    options.add_argument("--responses", type=int, default=48)
    options.add_argument("--histories", type=int, default=2)
    options.add_argument("--slots", type=int, default=max(4, os.cpu_count() or 4))
    options.add_argument("--sessions", type=int, default=48)
    return concluded(Bench(options.parse_args()).run(), shown)


if __name__ == "__main__":
    raise SystemExit(main())
