"""What the benchmarks of saturation share: requests handed to bare vLLM, pairs compared, a table.

Invariant: a pair's passes ask for the same tokens in the same process. All rates count
generated tokens only. The ratio is the median over the pairs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from actors.engines.contract import Chat, Reply, Sampling
from actors.engines.rendering import ChatRenderer
from actors.engines.vllm import VllmEngine
from actors.engines.vllm_core import LOGGING

_numbers = count()


@dataclass(frozen=True)
class Measured:
    """One pass over all requests."""

    tokens: int
    seconds: float
    own_cpu_s: float
    """Processor time of this process: all of our part, and vLLM's front end."""

    @property
    def rate(self) -> float:
        """Generated tokens per second."""
        return self.tokens / self.seconds


class Span(NamedTuple):
    """One request."""

    owner: Hashable
    """What it is a part of: requests of one owner wait for each other."""
    began: float
    ended: float
    tokens: int


def full_rate(spans: Sequence[Span], places: int) -> float:
    """Tokens a second until fewer owners are left than the engine has places.

    What is under way then counts with half of its tokens.
    """
    last: dict[Hashable, float] = {}
    for span in spans:
        last[span.owner] = max(span.ended, last.get(span.owner, 0.0))
    ends = sorted(last.values())
    dry = ends[max(0, len(ends) - places)]
    tokens = sum(
        span.tokens if span.ended <= dry else span.tokens / 2 for span in spans if span.began < dry
    )
    return tokens / (dry - min(span.began for span in spans))


class Stopwatch:
    """Seconds that went by, and processor time of this process."""

    def __init__(self) -> None:
        self._started, self._worked = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """(seconds, processor seconds) since it was made."""
        return time.perf_counter() - self._started, time.process_time() - self._worked


def tokens_of(output: Any) -> int:
    """Generated tokens of one of vLLM's outputs."""
    return sum(len(done.token_ids) for done in output.outputs)


async def handed_over(engine: VllmEngine, requests: Sequence[tuple[Any, Any]]) -> list[Span]:
    """(prompt, sampling) pairs, all at once and straight to vLLM."""

    async def one(prompt: Any, wanted: Any) -> Span:
        number, began = next(_numbers), time.perf_counter()
        sent = engine._llm.generate(prompt, wanted, f"raw-{number}")
        tokens = sum([tokens_of(output) async for output in sent])
        return Span(number, began, time.perf_counter(), tokens)

    return await asyncio.gather(*(one(*request) for request in requests))


class Tap:
    """An engine that notes what passes through it."""

    def __init__(self, engine: VllmEngine) -> None:
        self._engine = engine
        self.spell = engine.spell
        self.asked: list[tuple[Chat, Sampling]] = []
        self.spans: list[Span] = []
        """Each belongs to the task that asked."""

    @property
    def tokens(self) -> int:
        """Generated tokens of all requests that ended."""
        return sum(span.tokens for span in self.spans)

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Pass a request on."""
        self.asked.append((chat, sampling))
        began = time.perf_counter()
        reply = await self._engine.generate(chat, sampling)
        tokens = sum(completion.tokens for completion in reply.completions)
        self.spans.append(Span(asyncio.current_task(), began, time.perf_counter(), tokens))
        return reply

    async def close(self) -> None:
        """The engine is the bench's."""


def vllm_requests(
    renderer: ChatRenderer, context: int, asked: Sequence[tuple[Chat, Sampling]]
) -> list[tuple[Any, Any]]:
    """Chats as prompts of token ids, with vLLM's own sampling parameters."""
    from vllm import SamplingParams
    from vllm.inputs.engine import tokens_input
    from vllm.sampling_params import RequestOutputKind

    requests = []
    for chat, sampled in asked:
        prompt = list(renderer.tokens(chat))
        sampling = SamplingParams(
            n=sampled.n,
            temperature=sampled.temperature,
            top_p=sampled.top_p,
            top_k=sampled.top_k,
            max_tokens=min(sampled.max_tokens, context - len(prompt)),
            stop=list(sampled.stop) or None,
            seed=sampled.seed,
            logprobs=sampled.logprobs or None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        requests.append((tokens_input(prompt), sampling))
    return requests


async def asked_directly(engine: VllmEngine, asked: Sequence[tuple[Chat, Sampling]]) -> list[Span]:
    """What a stage asked for, all at once and straight to vLLM, as `handed_over` has it."""
    return await handed_over(engine, vllm_requests(engine._renderer, engine._context, asked))


async def forget(engine: VllmEngine) -> None:
    """Empty the prefix cache, so that nobody profits from the pass before."""
    await engine._llm.reset_prefix_cache()


def compared(
    raws: Sequence[Measured], ours: Sequence[Measured], target: float, **about: Any
) -> dict[str, Any]:
    """What was measured, pair by pair; `ratio` is the median of the pairs' ratios."""
    ratios = [mine.rate / raw.rate for raw, mine in zip(raws, ours, strict=True)]
    return {
        **about,
        "raw": [asdict(measured) | {"tokens_per_s": measured.rate} for measured in raws],
        "ours": [asdict(measured) | {"tokens_per_s": measured.rate} for measured in ours],
        "ratios": ratios,
        "ratio": statistics.median(ratios),
        "target": target,
    }


def table(
    found: dict[str, Any], title: str, beside: str = "", more: Callable[..., str] = lambda *_: ""
) -> str:
    """The measurement for people; `more(raw, ours)` fills the columns called `beside`."""
    lines = [
        f"{title}, {found['model']}",
        f"{'pair':>5} {'raw tok/s':>10} {'ours tok/s':>11} {'ratio':>6}   "
        f"own CPU s raw, ours{beside}",
    ]
    for number, (raw, ours, ratio) in enumerate(
        zip(found["raw"], found["ours"], found["ratios"], strict=True)
    ):
        lines.append(
            f"{number:>5} {raw['tokens_per_s']:>10.0f} {ours['tokens_per_s']:>11.0f} {ratio:>6.3f}"
            f"   {raw['own_cpu_s']:.2f}, {ours['own_cpu_s']:.2f}{more(raw, ours)}"
        )
    lines.append(f"median ratio {found['ratio']:.3f} (target {found['target']})")
    return "\n".join(lines)


def parser(doc: str | None, model: str, in_flight: int) -> argparse.ArgumentParser:
    """The arguments that every such benchmark has."""
    options = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    options.add_argument("--model", type=Path, default=Path(model))
    options.add_argument("--in-flight", type=int, default=in_flight)
    options.add_argument("--pairs", type=int, default=5)
    options.add_argument("--dtype", default="float32")
    options.add_argument("--eager", action=argparse.BooleanOptionalAction, default=True)
    return options


def concluded(
    run: Coroutine[Any, Any, dict[str, Any]], shown: Callable[[dict[str, Any]], str]
) -> int:
    """Measure; table to standard error, JSON to standard output; 1 below the target."""
    for name, value in LOGGING.items():
        os.environ.setdefault(name, value)

    measured = asyncio.run(run)
    print(shown(measured), file=sys.stderr)
    print(json.dumps(measured, indent=2))
    return 0 if measured["ratio"] >= measured["target"] else 1
