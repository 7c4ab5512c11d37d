"""Does the sample stage keep vLLM busy? Its generated tokens per second over those of a raw call.

Raw: all prompts and all samples at once, seeds included, nothing done with the texts; either one
`vllm.LLM.generate` call in an engine of its own with the same arguments (`--raw offline`), or the
same requests handed straight to the engine that the stage uses (`--raw engine`: nothing but our
part differs). Stage: a `PolicySampler` on the same prompts, sampling parameters and seeds, with
prompts rendered, steps split, answers read and graded, rows made. One round of a fixed size, so
that both generate the same samples; both run in turns in one process, in swapped order from pair
to pair, so that drift of the machine hits both. The ratio is the median over pairs. `adaptive` is
the stage with its default rounds, which end in a tail that a single call does not have: for
information.

    python benchmarks/engine_saturation.py --model demo/models/policy
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from actors.engine import EngineSettings, Sampling
from actors.rendering import ChatRenderer
from actors.sampler import PolicySampler
from actors.stage import ShardRows
from actors.vllm_core import LOGGING, engine_arguments
from actors.vllm_engine import VllmEngine
from demo.world import row, sample
from storage.records import Problem
from storage.seeds import request_seed
from workflows import steps
from workflows.answers import read_answer
from workflows.grading import grader
from workflows.sampling import QuotaRule
from workflows.settings import AnswerSettings, SampleSettings
from workflows.stages import policy_chat

TARGET = 0.9


@dataclass(frozen=True)
class Measured:
    """One run over all problems."""

    tokens: int
    seconds: float
    own_cpu_s: float
    """Processor time of this process: all of our part, and vLLM's front end."""

    @property
    def rate(self) -> float:
        """Generated tokens per second."""
        return self.tokens / self.seconds


class Bench:
    """The same prompts for a raw engine and for the stage's."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.settings = EngineSettings(
            model=str(arguments.model),
            max_in_flight=arguments.in_flight,
            dtype=arguments.dtype,
            gpu_memory=0.4,  # two engines share the device
            options={"enforce_eager": True} if arguments.eager else {},
        )
        self.sampling = Sampling(temperature=0.7, max_tokens=arguments.max_tokens)
        fields = Problem.__slots__
        self.problems = tuple(
            Problem(**{name: value for name, value in found.items() if name in fields})
            for found in map(row, sample(arguments.problems, 0, "heldout"))
        )
        self.grading = grader(AnswerSettings())
        self.chat = partial(policy_chat, SampleSettings().system)

    def offline_engine(self) -> Any:
        """vLLM's own synchronous front end."""
        from vllm import LLM
        from vllm.platforms import current_platform

        return LLM(**engine_arguments(self.settings, current_platform.is_cpu()))

    def requests(self, renderer: ChatRenderer, seed: int) -> tuple[list[Any], list[Any]]:
        """Rendered prompts and sampling parameters of all problems."""
        from vllm import SamplingParams
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind

        prompts = [
            tokens_input(list(renderer.tokens(self.chat(problem)))) for problem in self.problems
        ]
        wanted = [
            SamplingParams(
                n=self.arguments.samples,
                temperature=self.sampling.temperature,
                max_tokens=self.sampling.max_tokens,
                seed=request_seed(seed, "sample", problem.problem_id, 0),
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            for problem in self.problems
        ]
        return prompts, wanted

    def raw_offline(self, llm: Any, renderer: ChatRenderer, seed: int) -> Measured:
        """One `LLM.generate` call."""
        prompts, wanted = self.requests(renderer, seed)
        started, worked = time.perf_counter(), time.process_time()
        outputs = llm.generate(prompts, wanted, use_tqdm=False)
        seconds = time.perf_counter() - started
        return Measured(sum(map(_tokens, outputs)), seconds, time.process_time() - worked)

    async def raw_engine(self, engine: VllmEngine, renderer: ChatRenderer, seed: int) -> Measured:
        """The same requests, straight to the stage's own engine."""
        prompts, wanted = self.requests(renderer, seed)

        async def one(number: int) -> int:
            sent = engine._llm.generate(prompts[number], wanted[number], f"raw-{seed}-{number}")
            return sum([_tokens(output) async for output in sent])

        started, worked = time.perf_counter(), time.process_time()
        counted = await asyncio.gather(*map(one, range(len(prompts))))
        return Measured(sum(counted), time.perf_counter() - started, time.process_time() - worked)

    async def stage(self, engine: VllmEngine, seed: int, settings: SampleSettings) -> Measured:
        """The sample stage over one shard of all problems, no verdict known beforehand."""
        self.grading._cache.clear()
        sampler = PolicySampler(
            engine,
            self.grading,
            chat=self.chat,
            split=steps.split,
            read_answer=read_answer,
            rule=QuotaRule(settings),
            sampling=self.sampling,
            seed=seed,
        )
        started, worked = time.perf_counter(), time.process_time()
        result = await sampler.run(ShardRows(problems=self.problems))
        return Measured(
            result.counts["tokens"], time.perf_counter() - started, time.process_time() - worked
        )

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
            return await self.raw_engine(engine, renderer, seed)

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
        ratios = [stage.rate / raw.rate for stage, raw in zip(stages, raws, strict=True)]
        return {
            "model": str(self.arguments.model),
            "problems": len(self.problems),
            "samples": samples,
            "in_flight": self.arguments.in_flight,
            "raw_is": self.arguments.raw,
            "raw": [asdict(one) | {"tokens_per_s": one.rate} for one in raws],
            "stage": [asdict(one) | {"tokens_per_s": one.rate} for one in stages],
            "adaptive": asdict(adaptive) | {"tokens_per_s": adaptive.rate},
            "ratios": ratios,
            "ratio": statistics.median(ratios),
            "target": TARGET,
        }


def _tokens(output: Any) -> int:
    return sum(len(done.token_ids) for done in output.outputs)


def table(found: dict[str, Any]) -> str:
    """The measurement for people."""
    lines = [
        f"{found['problems']} problems x {found['samples']} samples, "
        f"{found['in_flight']} in flight, {found['model']}",
        f"{'pair':>5} {'raw tok/s':>10} {'stage tok/s':>12} {'ratio':>6}   own CPU s raw, stage",
    ]
    for number, (raw, stage, ratio) in enumerate(
        zip(found["raw"], found["stage"], found["ratios"], strict=True)
    ):
        lines.append(
            f"{number:>5} {raw['tokens_per_s']:>10.0f} {stage['tokens_per_s']:>12.0f} {ratio:>6.3f}"
            f"   {raw['own_cpu_s']:.2f}, {stage['own_cpu_s']:.2f}"
        )
    lines.append(f"median ratio {found['ratio']:.3f} (target {found['target']})")
    lines.append(f"adaptive rounds: {found['adaptive']['tokens_per_s']:.0f} tok/s")
    return "\n".join(lines)


def main() -> int:
    """Print the table to standard error and JSON to standard output; 1 below the target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=Path("demo/models/policy"))
    parser.add_argument("--problems", type=int, default=96)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--raw", choices=["offline", "engine"], default="offline")
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
