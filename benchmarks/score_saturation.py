"""Does scoring keep vLLM busy while code is run? Its generated tokens per second over raw vLLM's.

Scoring: the `Verifier` stage over a shard of responses from the demo world, several histories each,
every code block run in the sandbox, prompts rendered call by call, verdicts read. Raw: exactly the
requests that this scoring sent to the engine (prompts as token ids, sampling, seeds, stop strings,
log-probabilities), all at once and straight to the same engine: nothing waits for code or for the
step before. Both start with an empty prefix cache and run in turns in one process, the next pair
with other seeds; the ratio is the median over pairs. What scoring spent on what is printed beside:
seconds in which a code block ran or waited for the sandbox, and requests under way on average.

    python -m benchmarks.score_saturation --model .stepmill/models/genprm-demo
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from actors.engine import Chat, EngineSettings, Reply, Sampling
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.opening import open_sandbox
from actors.stage import ShardRows
from actors.vllm_core import LOGGING
from actors.vllm_engine import VllmEngine
from demo import solutions, world
from storage.records import Response
from workflows.scoring import VerifierMaker, speller
from workflows.scoring_settings import EXECUTING, ScoreConfig, ScoreModels, VerifySettings

TARGET = 0.8


@dataclass(frozen=True)
class Measured:
    """One pass over all requests."""

    tokens: int
    requests: int
    seconds: float
    own_cpu_s: float
    """Processor time of this process: all of our part, and vLLM's front end."""
    under_way: float
    """Requests in the engine, on average over the time."""
    code_runs: int = 0
    sandbox_s: float = 0.0
    """Seconds between a block's start and its reply, summed over blocks."""

    @property
    def rate(self) -> float:
        """Generated tokens per second."""
        return self.tokens / self.seconds


class Tap:
    """An engine that notes what passes through it."""

    def __init__(self, engine: VllmEngine) -> None:
        self._engine = engine
        self.asked: list[tuple[Chat, Sampling]] = []
        self.tokens = 0
        self.busy_s = 0.0

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Pass a request on."""
        self.asked.append((chat, sampling))
        began = time.perf_counter()
        reply = await self._engine.generate(chat, sampling)
        self.busy_s += time.perf_counter() - began
        self.tokens += sum(completion.tokens for completion in reply.completions)
        return reply

    async def close(self) -> None:
        """The engine is the bench's."""


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

    async def score(self, engine: VllmEngine, sandbox: Any, seed: int) -> tuple[Measured, Tap]:
        """The stage over one shard of all responses."""
        tap = Tap(engine)
        config = replace(self.config, verify=replace(self.config.verify, seed=seed))
        stage = VerifierMaker(config).around(tap, sandbox, speller(config.models.verifier))
        await _forget(engine)
        started, worked = time.perf_counter(), time.process_time()
        result = await stage.run(ShardRows(responses=self.responses))
        seconds, worked = time.perf_counter() - started, time.process_time() - worked
        runs = [run for row in result.rows for run in row.executions]
        print(f"{result.counts}, dropped {len(result.drops)}", file=sys.stderr)
        return (
            Measured(
                tap.tokens, len(tap.asked), seconds, worked, tap.busy_s / seconds,
                len(runs), sum(run.wall_s + run.queued_s for run in runs),
            ),
            tap,
        )  # fmt: skip

    async def raw(self, engine: VllmEngine, asked: list[tuple[Chat, Sampling]]) -> Measured:
        """Everything that was asked, at once, straight to vLLM."""
        from vllm import SamplingParams
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind

        requests = [
            (
                tokens_input(list(engine._renderer.tokens(chat))),
                SamplingParams(
                    temperature=wanted.temperature,
                    top_p=wanted.top_p,
                    top_k=wanted.top_k,
                    max_tokens=wanted.max_tokens,
                    stop=list(wanted.stop) or None,
                    seed=wanted.seed,
                    logprobs=wanted.logprobs or None,
                    output_kind=RequestOutputKind.FINAL_ONLY,
                ),
            )
            for chat, wanted in asked
        ]
        busy = 0.0

        async def one(number: int) -> int:
            nonlocal busy
            began = time.perf_counter()
            sent = engine._llm.generate(*requests[number], f"raw-{time.monotonic_ns()}-{number}")
            tokens = sum([len(out.outputs[0].token_ids) async for out in sent])
            busy += time.perf_counter() - began
            return tokens

        await _forget(engine)
        started, worked = time.perf_counter(), time.process_time()
        counted = await asyncio.gather(*map(one, range(len(requests))))
        seconds, worked = time.perf_counter() - started, time.process_time() - worked
        return Measured(sum(counted), len(requests), seconds, worked, busy / seconds)

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
        ratios = [mine.rate / raw.rate for mine, raw in zip(scored, raws, strict=True)]
        return {
            "model": str(self.arguments.model),
            "mode": self.arguments.mode,
            "responses": len(self.responses),
            "histories": self.arguments.histories,
            "in_flight": self.arguments.in_flight,
            "slots": self.arguments.slots,
            "sessions": self.arguments.sessions,
            "score": [asdict(one) | {"tokens_per_s": one.rate} for one in scored],
            "raw": [asdict(one) | {"tokens_per_s": one.rate} for one in raws],
            "ratios": ratios,
            "ratio": statistics.median(ratios),
            "target": TARGET,
        }


async def _forget(engine: VllmEngine) -> None:
    """Empty the prefix cache, so that nobody profits from the pass before."""
    await engine._llm.reset_prefix_cache()


def responses(count: int) -> list[Response]:
    """Solutions of the demo world that slip now and then."""
    found = []
    for number, problem in enumerate(world.sample(count, 0, "heldout")):
        written = solutions.write(problem, solutions.Habits(slip=0.1), random.Random(number))
        found.append(
            Response(f"r{number}", f"p{number}", problem.text, list(written.steps), "bench")
        )
    return found


def table(found: dict[str, Any]) -> str:
    """The measurement for people."""
    lines = [
        f"{found['responses']} responses x {found['histories']} histories, mode {found['mode']}, "
        f"{found['in_flight']} in flight, {found['sessions']} interpreters of which "
        f"{found['slots']} run, {found['model']}",
        f"{'pair':>5} {'raw tok/s':>10} {'score tok/s':>12} {'ratio':>6}   "
        "own CPU s raw, score; under way raw, score; code runs, ms each",
    ]
    for number, (raw, mine, ratio) in enumerate(
        zip(found["raw"], found["score"], found["ratios"], strict=True)
    ):
        each = 1000 * mine["sandbox_s"] / max(1, mine["code_runs"])
        lines.append(
            f"{number:>5} {raw['tokens_per_s']:>10.0f} {mine['tokens_per_s']:>12.0f} {ratio:>6.3f}"
            f"   {raw['own_cpu_s']:.2f}, {mine['own_cpu_s']:.2f}; {raw['under_way']:.0f}, "
            f"{mine['under_way']:.0f}; {mine['code_runs']}, {each:.1f}"
        )
    lines.append(f"median ratio {found['ratio']:.3f} (target {found['target']})")
    return "\n".join(lines)


def main() -> int:
    """Print the table to standard error and JSON to standard output; 1 below the target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=Path(".stepmill/models/genprm-demo"))
    parser.add_argument("--mode", default="full")
    parser.add_argument("--responses", type=int, default=48)
    parser.add_argument("--histories", type=int, default=2)
    parser.add_argument("--in-flight", type=int, default=48)
    parser.add_argument("--slots", type=int, default=max(4, os.cpu_count() or 4))
    parser.add_argument("--sessions", type=int, default=48)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--eager", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    for name, value in LOGGING.items():
        os.environ.setdefault(name, value)
    found = asyncio.run(Bench(arguments).run())
    print(table(found), file=sys.stderr)
    print(json.dumps(found, indent=2))
    return 0 if found["ratio"] >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
