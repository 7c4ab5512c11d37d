"""Does the sample stage keep vLLM busy? Its generated tokens per second over those of a raw call.

Raw: all prompts and samples at once, with seeds, and nothing done with the texts. `--raw offline`
is one `vllm.LLM.generate` call in its own engine with the same arguments. `--raw engine` hands the
same requests straight to the stage's engine, so that only our part differs. Stage: a
`PolicySampler` on the same prompts, sampling parameters and seeds. It renders prompts, splits
steps, grades answers and makes rows. One round of a fixed size makes both generate the same
samples. Both run in turns in one process, in swapped order from pair to pair, so that drift of the
machine hits both. The ratio is the median over pairs. `adaptive`, for information, is the stage
with its default rounds, which end in a tail that a single call does not have.

    python -m benchmarks.engine_saturation --model demo/models/policy
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from actors.engines.contract import Chat, EngineSettings, Sampling
from actors.engines.rendering import ChatRenderer
from actors.engines.vllm import VllmEngine
from actors.engines.vllm_core import engine_arguments
from actors.sandbox.contract import Limits
from benchmarks.saturation import (
    Measured,
    Stopwatch,
    compared,
    concluded,
    handed_over,
    parser,
    table,
    tokens_of,
    vllm_requests,
)
from demo.world import row, sample
from storage.rows.kinds import PROBLEMS, ShardRows
from storage.rows.records import Problem
from storage.seeds import request_seed
from workflows.answers.grading import grader
from workflows.formats.solving import policy_chat
from workflows.settings import AnswerSettings, SampleSettings, StageSettings
from workflows.stages.kit import Kit
from workflows.stages.sample import SAMPLE, PolicySampler

TARGET = 0.9


class Bench:
    """The same prompts for a raw engine and for the stage's."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.settings = EngineSettings(
            model=str(arguments.model),
            max_in_flight=arguments.in_flight,
            dtype=arguments.dtype,
            gpu_memory=0.4,  # two engines share the device
            eager=arguments.eager,
        )
        self.sampling = Sampling(temperature=0.7, max_tokens=arguments.max_tokens)
        fields = Problem.__slots__
        self.problems = tuple(
            Problem(**{name: value for name, value in problem.items() if name in fields})
            for problem in map(row, sample(arguments.problems, 0, "heldout"))
        )
        self.grading = grader(AnswerSettings())
        self.chat = partial(policy_chat, SampleSettings().system)

    def offline_engine(self) -> Any:
        """vLLM's own synchronous front end."""
        from vllm import LLM
        from vllm.platforms import current_platform

        return LLM(
            **engine_arguments(self.settings, current_platform.is_cpu(), self.arguments.eager)
        )

    def asked(self, seed: int) -> list[tuple[Chat, Sampling]]:
        """Chat and sampling parameters of every problem."""
        return [
            (
                self.chat(problem),
                replace(
                    self.sampling,
                    n=self.arguments.samples,
                    seed=request_seed(seed, "sample", problem.problem_id, 0),
                ),
            )
            for problem in self.problems
        ]

    def raw_offline(self, llm: Any, renderer: ChatRenderer, seed: int) -> Measured:
        """One `LLM.generate` call."""
        context = llm.llm_engine.model_config.max_model_len
        prompts, samplings = zip(*vllm_requests(renderer, context, self.asked(seed)), strict=True)
        watch = Stopwatch()
        outputs = llm.generate(list(prompts), list(samplings), use_tqdm=False)
        return Measured(sum(map(tokens_of, outputs)), *watch.read())

    async def raw_engine(self, engine: VllmEngine, seed: int) -> Measured:
        """The same requests, straight to the stage's own engine."""
        requests = vllm_requests(engine._renderer, engine._context, self.asked(seed))
        watch = Stopwatch()
        spans = await handed_over(engine, requests)
        return Measured(sum(span.tokens for span in spans), *watch.read())

    async def stage(self, engine: VllmEngine, seed: int, settings: SampleSettings) -> Measured:
        """The sample stage over one shard of all problems, no verdict known beforehand."""
        self.grading._cache.clear()
        build_settings = StageSettings(
            seed=seed,
            sample=replace(
                settings,
                temperature=self.sampling.temperature,
                max_tokens=self.sampling.max_tokens,
            ),
        )
        kit = Kit(
            "run", build_settings, SAMPLE.spec, {SAMPLE.role: str(self.arguments.model)}, Limits(),
            opened=engine, graded_by=self.grading,
        )  # fmt: skip
        sampler = PolicySampler(kit)
        watch = Stopwatch()
        result = await sampler.run(ShardRows({PROBLEMS: self.problems}))
        return Measured(result.counts["tokens"], *watch.read())

    async def run(self) -> dict[str, Any]:
        """Measure in turns; `ratio` is the median of the pairs' ratios."""
        samples = self.arguments.samples
        fixed = SampleSettings(first_round=samples, cap=samples)
        engine = await VllmEngine.open(self.settings)
        renderer = ChatRenderer.load(self.settings)
        offline = self.arguments.raw == "offline"
        llm = await asyncio.to_thread(self.offline_engine) if offline else None

        async def raw(seed: int) -> Measured:
            if offline:
                return await asyncio.to_thread(self.raw_offline, llm, renderer, seed)
            return await self.raw_engine(engine, seed)

        raws, stages = [], []
        try:
            await self.stage(engine, -1, fixed)  # warm: kernels, caches, grader's imports
            await raw(-1)
            for pair in range(self.arguments.pairs):
                if pair % 2:
                    stages.append(await self.stage(engine, pair, fixed))
                raws.append(await raw(pair))
                if not pair % 2:
                    stages.append(await self.stage(engine, pair, fixed))
            adaptive = await self.stage(engine, 0, SampleSettings(cap=8 * samples))
        finally:
            await engine.close()
            await self.grading.close()
            renderer.close()
        return compared(
            raws,
            stages,
            TARGET,
            model=str(self.arguments.model),
            problems=len(self.problems),
            samples=samples,
            in_flight=self.arguments.in_flight,
            raw_is=self.arguments.raw,
            adaptive=asdict(adaptive) | {"tokens_per_s": adaptive.rate},
        )


def shown(found: dict[str, Any]) -> str:
    """The measurement for people."""
    title = f"{found['problems']} problems x {found['samples']} samples, "
    return (
        table(found, f"{title}{found['in_flight']} in flight")
        + f"\nadaptive rounds: {found['adaptive']['tokens_per_s']:.0f} tok/s"
    )


def main() -> int:
    """Measure and print; 1 below the target."""
    options = parser(__doc__, "demo/models/policy", in_flight=256)
    options.add_argument("--problems", type=int, default=96)
    options.add_argument("--samples", type=int, default=32)
    options.add_argument("--max-tokens", type=int, default=256)
    options.add_argument("--raw", choices=["offline", "engine"], default="offline")
    return concluded(Bench(options.parse_args()).run(), shown)


if __name__ == "__main__":
    raise SystemExit(main())
