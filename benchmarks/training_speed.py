"""How fast one worker trains, and where its time goes: a table, by default in a minute or two.

    python -m benchmarks.training_speed --shape 1.5b                # on a GPU
    python -m benchmarks.training_speed --shape 7b --layers 8       # as many layers as fit
    python -m benchmarks.training_speed --shape tiny --profile      # on a processor, to try it
    python -m benchmarks.training_speed --computed                  # memory on 8 and 16 GPUs

A model of Qwen2.5's shape and vocabulary with random weights is trained by the product's own
trainer on conversations of random tokens, 1,000 to 4,000 of them, all learnt. Timed are whole
updates: batches, forward, backward, clipping, AdamW. The card's own rate is measured in the same
run, by products of matrices of 8,192 x 8,192 in bfloat16.

Arithmetic is counted as 6 operations a weight and token; attention and what is computed twice are
not. A table of embeddings beside the head is only looked up: the share counts it, as is usual, and
`without it` stands beside where there is one.

What it does not show: several workers, real conversations, the tokenizer, checkpoints.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from actors.training.attention import attention_name
from actors.training.batches import Corpus, StepPlan
from actors.training.conversations import Conversation, InMemory
from actors.training.events import Place
from actors.training.learner import build, process_group
from actors.training.memory import (
    GIB,
    Estimate,
    ModelShape,
    Plan,
    estimate,
    host_bytes,
    recomputed_layers,
)
from actors.training.settings import LearningSettings
from actors.training.trainer import StepTrainer
from benchmarks.shapes import SHAPES, Shape


def conversations(count: int, shortest: int, longest: int, vocabulary: int) -> Corpus:
    """Conversations of random tokens: arithmetic does not read them."""
    draw = np.random.default_rng(3)
    made = []
    for number in range(count):
        size = int(draw.integers(shortest, longest + 1))
        ids = draw.integers(4, vocabulary, size, dtype=np.int32)
        own = np.ones(size, dtype=np.bool_)
        verdicts = np.array([size - 2], dtype=np.int32)
        labels = np.ones(1, dtype=np.bool_)
        made.append(Conversation(f"p{number}", f"q{number}", ids, own, verdicts, labels))
    return Corpus(InMemory(made), InMemory(()), {}, yes=1, no=2)


def configuration(shape: Shape) -> Any:
    """Qwen2's, of a shape."""
    from transformers import Qwen2Config

    return Qwen2Config(**asdict(shape), max_position_embeddings=32768)


def random_weights(parts: dict[str, Any]) -> None:
    """As a model begins: norms 1, biases 0, else normal."""
    for name, held in parts.items():
        if name.endswith("bias"):
            held.zero_()
        elif held.ndim == 1:
            held.fill_(1.0)
        else:
            held.normal_(std=0.02)


@contextlib.contextmanager
def trainer_of(
    config: Any, corpus: Corpus, learning: LearningSettings, micro_tokens: int,
    attention: str = "packed", recomputed: int = 0,
) -> Iterator[StepTrainer]:  # fmt: skip
    """One worker's trainer of a model with random weights, on a GPU where there is one."""
    place = Place(gpu=torch.cuda.is_available())
    plan = StepPlan(corpus.train.lengths, learning, micro_tokens)
    torch.manual_seed(0)
    with process_group(place) as device:
        learner = build(
            config, random_weights, attention=attention_name(attention),
            learning=learning, sharded=False, device=device, place=place,
            recomputed=recomputed,
        )  # fmt: skip
        trainer = StepTrainer(learner, learning, plan, corpus, place, device, 0, False)
        with contextlib.closing(trainer):
            yield trainer


def arithmetic_rate(size: int = 8192, seconds: float = 2.0) -> float:
    """Floating-point operations per second of bfloat16 matrix products on this GPU."""
    one, other = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(10):
        one @ other
    torch.cuda.synchronize()
    began, times = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(10):
            one @ other
        torch.cuda.synchronize()
        times += 10
    return 2 * size**3 * times / (time.perf_counter() - began)


def tokens_of(trainer: StepTrainer, updates: int) -> list[int]:
    """Tokens of each of the first updates."""
    plan = trainer.plan
    return [plan.tokens(plan.members(step)) for step in range(updates)]


def timed(trainer: StepTrainer, tokens: Sequence[int], warm: int) -> tuple[int, float]:
    """(tokens, seconds) of the updates behind those that warm up; `tokens`: of each update."""
    for step in range(warm):
        trainer.update(step)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    for step in range(warm, len(tokens)):
        trainer.update(step)  # its loss is waited for
    return sum(tokens[warm:]), time.perf_counter() - began


def profiled(trainer: StepTrainer, step: int, rows: int) -> str:
    """One update, by what the device, or the processor, spent its time on."""
    from torch.profiler import ProfilerActivity, profile

    on_gpu = torch.cuda.is_available()
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else [])
    with profile(activities=kinds) as found:
        trainer.update(step)
    if not on_gpu:
        return str(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=rows))
    device = [one for one in found.events() if one.device_type == torch.autograd.DeviceType.CUDA]
    device = [one for one in device if not getattr(one, "is_user_annotation", False)]
    spans = sorted((one.time_range.start, one.time_range.end) for one in device)
    busy, reached = 0.0, spans[0][0]
    for start, end in spans:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    wall = spans[-1][1] - spans[0][0]
    sums: dict[str, list[float]] = {}
    for one in device:
        held = sums.setdefault(one.name, [0.0, 0])
        held[0] += one.time_range.end - one.time_range.start
        held[1] += 1
    copies = sum(time for name, (time, _) in sums.items() if name.startswith("Mem"))
    lines = [
        f"one update: {wall / 1e3:.0f} ms on the device, nothing at work for "
        f"{1 - busy / wall:.1%}, {len(device):,} kernels and copies, of them copies "
        f"{copies / 1e3:.1f} ms",
    ]
    for name, (spent, count) in sorted(sums.items(), key=lambda one: -one[1][0])[:rows]:
        lines.append(f"{spent / wall:6.1%} {spent / 1e3:9.1f} ms {count:7,.0f} x {name[:110]}")
    return "\n".join(lines)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """One line of the table."""
    shape = SHAPES[given.shape]
    shape = replace(shape, num_hidden_layers=given.layers or shape.num_hidden_layers)
    config = configuration(shape)
    sizes = ModelShape.of(config)
    on_gpu = torch.cuda.is_available()
    precision = given.precision or ("bfloat16" if on_gpu else "float32")
    learning = LearningSettings(batch=given.batch, precision=precision)
    steps = given.warm + given.updates + 1
    corpus = conversations(steps * given.batch, given.shortest, given.longest, shape.vocab_size)
    plan = Plan(
        1, given.micro_tokens, 2 if precision == "bfloat16" else 4, given.recompute,
    )  # fmt: skip
    expected: Estimate = estimate(sizes, plan)
    found: dict[str, Any] = {
        "shape": given.shape, "layers": shape.num_hidden_layers, "recomputed": given.recompute,
        "parameters": sizes.parameters, "device": "processor", "precision": precision,
        "estimate_gib": expected.total / GIB,
    }  # fmt: skip
    print(f"estimate: {expected}", file=sys.stderr, flush=True)
    with trainer_of(
        config, corpus, learning, given.micro_tokens, given.attention, given.recompute
    ) as trainer:
        count, seconds = timed(trainer, tokens_of(trainer, steps - 1), given.warm)
        rate = count / seconds
        found |= {"tokens": count, "seconds": seconds, "tokens_per_s": rate}
        found["tflops"] = 6 * sizes.parameters * rate / 1e12
        found["tflops_without_lookup"] = 6 * sizes.multiplied * rate / 1e12
        if on_gpu:
            found["peak_gib"] = torch.cuda.max_memory_allocated() / GIB
            found["reserved_gib"] = torch.cuda.max_memory_reserved() / GIB
        if given.profile:
            print(profiled(trainer, steps - 1, given.rows), file=sys.stderr, flush=True)
    if on_gpu:
        del trainer
        torch.cuda.empty_cache()
        card = arithmetic_rate()
        found |= {"device": torch.cuda.get_device_name(), "card_tflops": card / 1e12}
        found["share"] = found["tflops"] * 1e12 / card
        found["share_without_lookup"] = found["tflops_without_lookup"] * 1e12 / card
    return found


def said(found: dict[str, Any]) -> str:
    """For people."""
    line = (
        f"{found['shape']}, {found['layers']} layers ({found['recomputed']} computed twice), "
        f"{found['parameters'] / 1e9:.2f} billion parameters, {found['precision']} on "
        f"{found['device']}: {found['tokens_per_s']:,.0f} tokens/s, {found['tflops']:,.1f} TFLOP/s"
    )
    if "share" in found:
        line += (
            f", {found['share']:.1%} of the card's {found['card_tflops']:.0f} "
            f"({found['share_without_lookup']:.1%} without a table that is looked up); peak "
            f"{found['peak_gib']:.1f} GiB of {found['estimate_gib']:.1f} expected"
        )
    return line


def computed(memory: int = 79 * GIB) -> str:
    """What the published shapes would take of GPUs of 80 GB, sharded over all of them."""
    lines = [
        "| base | GPUs | layers computed twice | GiB of a GPU | weights and optimizer | gathered "
        "| activations | beside them | GiB of a host of 8 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in ("1.5b", "7b", "32b"):
        shape = ModelShape.of(configuration(SHAPES[name]))
        for workers in (8, 16):
            plan = Plan(workers, 16384)
            count = recomputed_layers(shape, plan, memory)
            plan = replace(plan, recomputed=shape.layers if count is None else count)
            found = estimate(shape, plan)
            parts = (found.total, found.weights, found.gathered, found.activations, found.beside)
            sizes = [f"{size / GIB:.1f}" for size in (*parts, host_bytes(shape, 8))]
            twice = f"{plan.recomputed} of {shape.layers}" + (" and does not fit" * (count is None))
            lines.append(f"| {name.upper()} | {workers} | {twice} | {' | '.join(sizes)} |")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--shape", choices=SHAPES, default="1.5b")
    made.add_argument("--layers", type=int, help="fewer than the shape has")
    made.add_argument("--recompute", type=int, default=0, help="layers to compute twice")
    made.add_argument("--micro-tokens", type=int, default=16384)
    made.add_argument("--batch", type=int, default=64, help="conversations of an update")
    made.add_argument("--shortest", type=int, default=1000, help="conversation, in tokens")
    made.add_argument("--longest", type=int, default=4000)
    made.add_argument("--updates", type=int, default=3)
    made.add_argument("--warm", type=int, default=1, help="updates that are not timed")
    made.add_argument("--precision", choices=("float32", "bfloat16"))
    made.add_argument("--attention", default="packed")
    made.add_argument("--computed", action="store_true", help="memory on paper; nothing is run")
    made.add_argument("--profile", action="store_true", help="of one update")
    made.add_argument("--rows", type=int, default=25, help="of the profile")
    return made


def main(given: Sequence[str] | None = None) -> int:
    """Measure; for people to standard error, JSON to standard output."""
    asked = parser().parse_args(given)
    if asked.computed:
        print(computed())
        return 0
    found = measure(asked)
    print(said(found), file=sys.stderr)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
