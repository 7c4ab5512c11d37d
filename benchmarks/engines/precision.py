"""Whether `auto` is the faster precision on this machine, for engines and for trainings.

    python -m benchmarks.precision               # the demo's policy and writer; some ten minutes

The same requests are generated, and the same updates trained, in float32, in bfloat16 and in the
precision of `auto`. They take turns in one run, so that a machine that slows down slows all of
them. The medians over the rounds are compared. One engine per precision is opened; opening does not
count.

What it does not show: other models, other numbers of threads.

Exit code 1 where `auto` is under 0.95 of the better of the two.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal

import torch
from transformers import AutoConfig

from actors.engines.contract import Chat, EngineSettings, Sampling
from actors.engines.vllm import VllmEngine
from actors.machines.fitness import dtype_for, precision_for
from actors.machines.machine import look
from actors.models.facts import facts_of
from actors.training.settings import LearningSettings
from benchmarks.training_speed import conversations, timed, tokens_of, trainer_of
from demo.world import sample
from storage.rows.records import Message

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
TARGET = 0.95
Rates = dict[Precision, list[float]]
"""Tokens per second of each round."""


async def generated(model: str, rounds: int, asked: int, in_flight: int) -> Rates:
    """Generated tokens per second of one engine, in each precision."""
    chats = [
        Chat((Message("system", "Be brief."), Message("user", problem.text)), "Step 1:")
        for problem in sample(asked, 5, "heldout")
    ]
    rates: Rates = {precision: [] for precision in PRECISIONS}
    engines = {
        precision: await VllmEngine.open(
            EngineSettings(model=model, dtype=precision, max_in_flight=in_flight)
        )
        for precision in PRECISIONS
    }
    try:
        for number in range(-1, rounds):  # the first one warms up
            for precision, engine in engines.items():
                sampling = Sampling(n=16, temperature=0.7, max_tokens=96, seed=100 + number)
                began = time.perf_counter()
                replies = await asyncio.gather(*(engine.generate(c, sampling) for c in chats))
                seconds = time.perf_counter() - began
                tokens = sum(done.tokens for reply in replies for done in reply.completions)
                if number >= 0:
                    rates[precision].append(tokens / seconds)
    finally:
        for engine in engines.values():
            await engine.close()
    return rates


def trained(base: str, rounds: int, updates: int, threads: int) -> Rates:
    """Trained tokens per second (all of a conversation's), in each precision."""
    torch.set_num_threads(threads)
    config = AutoConfig.from_pretrained(base)
    corpus = conversations(512, 250, 600, config.vocab_size)
    rates: Rates = {precision: [] for precision in PRECISIONS}
    for number in range(-1, rounds):
        for precision in PRECISIONS:
            count = 2 if number < 0 else updates
            learning = LearningSettings(batch=16, rate=1e-4, precision=precision)
            with trainer_of(config, corpus, learning, 4096) as trainer:
                tokens, seconds = timed(trainer, tokens_of(trainer, count), warm=0)
            if number >= 0:
                rates[precision].append(tokens / seconds)
    return rates


def judged(rates: Mapping[Precision, list[float]], auto: str) -> dict[str, Any]:
    """What `auto` reaches of the better precision, by medians."""
    medians = {precision: statistics.median(rates_of) for precision, rates_of in rates.items()}
    best = max(medians.values())
    share = next((rate / best for name, rate in medians.items() if name == auto), 0.0)
    return {"auto": auto, "tokens_per_s": dict(rates), "medians": medians, "share": share}


def table(found: Mapping[str, Any]) -> str:
    """For people."""
    lines = [f"processor multiplies bfloat16: {'yes' if found['bfloat16'] else 'no'}"]
    for what in ("generated", "trained"):
        row = found[what]
        rates = ", ".join(
            f"{name} {rate:,.0f} ({min(row['tokens_per_s'][name]):,.0f} to "
            f"{max(row['tokens_per_s'][name]):,.0f})"
            for name, rate in row["medians"].items()
        )
        lines.append(
            f"{what} tokens a second: {rates}; auto is {row['auto']}: {row['share']:.2f} of the "
            f"better (aim {TARGET})"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure both; table to standard error, JSON to standard output."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="demo/models/policy")
    parser.add_argument("--base", default="demo/models/rationale")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--problems", type=int, default=32, help="16 samples each")
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--updates", type=int, default=6, help="of 16 conversations, per round")
    parser.add_argument("--threads", type=int, default=1, help="of a training")
    given = parser.parse_args()
    machine = look()
    engine = EngineSettings(model=given.model)
    rates = asyncio.run(generated(given.model, given.rounds, given.problems, given.in_flight))
    figures: dict[str, Any] = {
        "bfloat16": machine.multiplies_bfloat16,
        "generated": judged(rates, dtype_for([machine], engine, facts_of(engine))),
        "trained": judged(
            trained(given.base, given.rounds, given.updates, given.threads),
            precision_for([machine]),
        ),
    }
    print(table(figures), file=sys.stderr)
    print(json.dumps(figures, indent=2))
    return 0 if min(figures[part]["share"] for part in ("generated", "trained")) >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
