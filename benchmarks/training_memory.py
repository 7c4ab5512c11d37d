"""Peak memory of a training worker on a processor, beside what is computed before it starts.

    python -m benchmarks.training_memory                  # 202 million random weights, 5 GiB
    python -m benchmarks.training_memory --layers 6 --micro-tokens 4096

A worker in a process of its own imports what it needs, joins a process group and makes its batches:
that is the idle worker. Then it builds a model of random weights and makes two updates, each of
several micro-batches. The growth of its peak (VmHWM) over the idle worker's memory (VmRSS) is held
against `actors.training.memory.estimate`, without the part that only a GPU has.

What it does not show: several workers; GPUs, whose peaks the trainer prints beside the estimate.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from actors.training.memory import GIB, ModelShape, Plan, estimate
from actors.training.settings import LearningSettings
from benchmarks.shapes import Shape
from benchmarks.training_speed import configuration, conversations, trainer_of
from benchmarks.training_start import memory


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """The figures, in this process."""
    shape = Shape(
        hidden_size=given.width, intermediate_size=4 * given.width,
        num_hidden_layers=given.layers, num_attention_heads=given.width // 64,
        num_key_value_heads=given.width // 256, vocab_size=given.vocabulary,
        tie_word_embeddings=False,
    )  # fmt: skip
    config = configuration(shape)
    sizes = ModelShape.of(config)
    learning = LearningSettings(batch=given.batch, precision="float32")
    corpus = conversations(2 * given.batch, 200, given.micro_tokens // 2, given.vocabulary)
    plan = Plan(1, given.micro_tokens, 4, fused=False)
    expected = replace(estimate(sizes, plan), fixed=0).total
    with contextlib.ExitStack() as stack:
        with trainer_of(configuration(replace(shape, **TINY)), corpus, learning, 64) as warm:
            warm.update(0)  # libraries are loaded, threads started
        idle = memory()["VmRSS"]
        trainer = stack.enter_context(trainer_of(config, corpus, learning, given.micro_tokens))
        for step in range(2):
            trainer.update(step)
    grown = memory()["VmHWM"] - idle
    return {
        "parameters": sizes.parameters, "micro_tokens": given.micro_tokens,
        "idle_gib": idle / GIB, "grown_gib": grown / GIB, "expected_gib": expected / GIB,
        "expected_to_grown": expected / grown, "parts": str(estimate(sizes, plan)),
    }  # fmt: skip


TINY = {
    "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 1, "num_key_value_heads": 1,
}  # fmt: skip


def main(given: Sequence[str] | None = None) -> int:
    """Measure; JSON to standard output."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--width", type=int, default=1024)
    made.add_argument("--layers", type=int, default=9)
    made.add_argument("--vocabulary", type=int, default=32_000)
    made.add_argument("--micro-tokens", type=int, default=1024)
    made.add_argument("--batch", type=int, default=3, help="conversations of an update")
    torch.set_num_threads(1)
    print(json.dumps(measure(made.parse_args(given))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
