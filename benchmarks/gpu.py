"""What this machine's GPU makes of Stepmill, in one table: at most 8 minutes, no downloads.

    python -m benchmarks.gpu                                 # everything
    python -m benchmarks.gpu --parts start,sample            # some of it
    python -m benchmarks.gpu --shape tiny --base tiny    # tries the measurement itself

Engines and training have the published shapes of Qwen2.5 and random weights (`benchmarks.shapes`).

    start       seconds until an engine is up, the published vocabulary
    full        stage `sample`, every sample as long as its limit: throughput with that vocabulary
    sample, estimate, rationale
                the stages with lengths as wide as a lognormal of sigma 0.7 (a vocabulary of 272
                entries, one of them the end): whether places of samples that ended stand empty
    train       tokens per second, share of the card's own rate, peak memory
    demo        the demo's build, stage by stage

A stage's figure is its generated tokens per second over those of the same requests handed to the
same engine all at once, from an empty prefix cache. The model draws the tokens; what a sample says
is a script's (`benchmarks.paper_world`), so that solutions are right or wrong and code runs.

What it does not show: trained models, several GPUs, prompts of real length; the raw pass knows all
requests beforehand, which no build does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as Folder
from typing import Any

from actors.engine import Chat, Completion, EngineSettings, Reply, Sampling
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.opening import open_sandbox
from actors.scripted_engine import Script, ScriptedEngine
from actors.stage import ShardRows, Stage
from actors.training_settings import LearningSettings
from actors.vllm_core import LOGGING
from actors.vllm_engine import VllmEngine
from benchmarks import paper_world
from benchmarks.precision import conversations, train_once
from benchmarks.saturation import Stopwatch, Tap, asked_directly, forget
from benchmarks.shapes import SHAPES, Shape, write_folder
from demo import world
from storage.records import Path, PathLabels, Problem
from workflows.configuration import BuildConfig, ModelSettings
from workflows.settings import (
    EstimateSettings,
    RationalizeSettings,
    SampleSettings,
    StageSettings,
)
from workflows.stages import StageMaker

PARTS = ("start", "full", "sample", "estimate", "rationale", "train", "demo")
WORDS = 272
"""The small vocabulary; also the mean of the lengths before they are cut at twice as many."""
BYTES_OF_TRAINING = 16
"""Per parameter: weight, gradient and two moments, each in float32."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    part: str
    seconds: float
    tokens: int = 0
    tokens_per_s: float = 0.0
    share: float | None = None
    """Of the same engine asked directly; of a training, of the card's own arithmetic."""
    note: str = ""

    def tell(self) -> None:
        """Say at once what is known."""
        share = "" if self.share is None else f"share {self.share:.3f}; "
        print(f"{self.part}: {self.seconds:.1f} s; {share}{self.note}", file=sys.stderr, flush=True)


class Voiced:
    """An engine whose samples take what its model draws and say what a script says."""

    def __init__(self, engine: VllmEngine | Tap, script: Script) -> None:
        self._engine = engine
        self._says = ScriptedEngine(script, EngineSettings(kind="scripted", max_in_flight=1 << 20))

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Draw, then speak."""
        drawn = await self._engine.generate(chat, replace(sampling, stop=()))
        said = await self._says.generate(chat, replace(sampling, max_tokens=1 << 20))
        return replace(drawn, completions=tuple(map(_spoken, drawn.completions, said.completions)))

    async def close(self) -> None:
        """The engine is the bench's."""


def _spoken(drawn: Completion, said: Completion) -> Completion:
    return replace(said, tokens=drawn.tokens, logprobs=drawn.logprobs)


class Stages:
    """The three stages that generate, around one engine, and the same requests without them."""

    def __init__(self, arguments: argparse.Namespace, model: Folder) -> None:
        self.arguments = arguments
        self.settings = EngineSettings(
            model=str(model),
            max_in_flight=arguments.in_flight,
            max_model_len=arguments.context,
            eager=arguments.eager,
            options={"load_format": "dummy"},
        )
        models = ModelSettings(
            policy=self.settings, completer=self.settings, rationale=self.settings
        )
        longest = 2 * WORDS
        self.config = BuildConfig(
            run="gpu",
            problems="",
            models=models,
            stages=StageSettings(
                sample=SampleSettings(max_tokens=longest, first_round=16, cap=32),
                estimate=EstimateSettings(
                    max_tokens=longest, k_hard=64, k_medium=32, k_easy=16, probe=16
                ),
                rationalize=RationalizeSettings(
                    max_tokens=longest, total_tokens=arguments.context // 2
                ),
            ),
        )
        count = arguments.problems
        self.problems = tuple(
            Problem(f"p{number}", one.text, paper_world.answer_of(one.text))
            for number, one in enumerate(world.sample(count, 0, "heldout"))
        )

    async def open(self) -> tuple[VllmEngine, Row]:
        """The engine, and how long it took to come up."""
        watch = Stopwatch()
        engine = await VllmEngine.open(self.settings)
        row = Row("start", watch.read()[0], note=self.settings.model.rpartition("/")[2])
        row.tell()
        return engine, row

    def stage(self, name: str, engine: Tap, sandbox: Any, config: BuildConfig) -> Stage:
        """A stage whose model speaks."""
        role, script = {
            "sample": ("policy", paper_world.policy),
            "estimate": ("completer", paper_world.completer),
            "rationalize": ("rationale", paper_world.rationale),
        }[name]
        return StageMaker(config, "gpu").around(role, Voiced(engine, script), sandbox)[name]

    async def measured(
        self, part: str, name: str, engine: VllmEngine, shards: Sequence[ShardRows],
        sandbox: Any = None, config: BuildConfig | None = None,
    ) -> tuple[Row, list[Any]]:  # fmt: skip
        """A stage over shards that are in flight together, then its requests straight to vLLM."""
        tap = Tap(engine)
        stage = self.stage(name, tap, sandbox, config or self.config)
        await forget(engine)
        watch = Stopwatch()
        made = await asyncio.gather(*(stage.run(rows) for rows in shards))
        seconds, _ = watch.read()
        await forget(engine)
        watch = Stopwatch()
        tokens, _ = await asked_directly(engine, tap.asked)
        raw = tokens / watch.read()[0]
        rate = tap.tokens / seconds
        drops = sum(len(result.drops) for result in made)
        note = f"raw {raw:,.0f} tokens/s; {len(tap.asked)} requests, {drops} dropped"
        row = Row(part, seconds, tap.tokens, rate, rate / raw, note)
        row.tell()
        return row, [result.rows for result in made]

    def shards(self, size: int) -> list[ShardRows]:
        """The problems, cut into shards."""
        return [
            ShardRows(problems=self.problems[at : at + size])
            for at in range(0, len(self.problems), size)
        ]

    async def full(self) -> list[Row]:
        """One engine of the published vocabulary: its start, and a round of whole samples."""
        engine, started = await self.open()
        try:
            sample = SampleSettings(max_tokens=256, first_round=16, cap=16)
            config = replace(self.config, stages=replace(self.config.stages, sample=sample))
            everything = self.shards(len(self.problems))
            few = [ShardRows(problems=self.problems[:4])]
            await self.measured("warm", "sample", engine, few, config=config)
            row, _ = await self.measured("full", "sample", engine, everything, config=config)
        finally:
            await engine.close()
        return [started, row]

    async def wide(self, wanted: Sequence[str]) -> list[Row]:
        """Stage after stage with lengths that differ."""
        engine, started = await self.open()
        found = [started]
        sandbox = open_sandbox(SandboxSettings()) if "rationale" in wanted else None
        try:
            if sandbox is not None:
                await sandbox.start()
            shards = self.shards(self.arguments.shard_size)
            row, paths = await self.measured("sample", "sample", engine, shards)
            found += [row] if "sample" in wanted else []
            if "estimate" in wanted:
                some = _selected(shards, paths, self.arguments.paths)
                found.append((await self.measured("estimate", "estimate", engine, some))[0])
            if sandbox is not None:
                some = [
                    replace(rows, labels=tuple(map(_label, rows.paths)))
                    for rows in _selected(shards, paths, self.arguments.solutions)
                ]
                row, _ = await self.measured(
                    "rationale", "rationalize", engine, some, sandbox=sandbox
                )
                found.append(row)
        finally:
            await engine.close()
            if sandbox is not None:
                await sandbox.close()
        return found


def _selected(
    shards: Sequence[ShardRows], paths: Sequence[Sequence[Path]], count: int
) -> list[ShardRows]:
    """The shards with `count` of their selected paths each."""
    return [
        replace(rows, paths=tuple([path for path in made if path.selected][:count]))
        for rows, made in zip(shards, paths, strict=True)
    ]


def _label(path: Path) -> PathLabels:
    count = len(path.steps)
    return PathLabels(
        path.path_id, path.problem_id, mc=[1.0] * (count + 1), n=[1] * (count + 1),
        value=[1.0] * count, labels=[True] * count, first_error=None, form="ratio",
        threshold=0.8, policy_pass_at_1=0.5,
    )  # fmt: skip


def training(arguments: argparse.Namespace) -> list[Row]:
    """Some updates of the base's shape with random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape, on_gpu = SHAPES[arguments.base], torch.cuda.is_available()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        base = write_folder(shape, Folder(folder) / arguments.base)
        with torch.device("cuda" if on_gpu else "cpu"):
            model = AutoModelForCausalLM.from_config(
                AutoConfig.from_pretrained(base), dtype=torch.float32, attn_implementation="sdpa"
            )
    row = arguments.row_tokens
    corpus = conversations(16 * arguments.updates, row // 8, row, shape.vocab_size)
    learning = LearningSettings(batch=16, precision="bfloat16" if on_gpu else "float32")
    train_once(model, corpus, learning, 1, row, arguments.micro_tokens)  # warm
    tokens, seconds = train_once(
        model, corpus, learning, arguments.updates, row, arguments.micro_tokens
    )
    note, share = f"{shape.parameters / 1e9:.2f} billion parameters", None
    if on_gpu:
        peak = torch.cuda.max_memory_allocated() / 2**30
        del model
        torch.cuda.empty_cache()
        card = arithmetic_rate()
        share = 6 * shape.parameters * tokens / seconds / card
        least = BYTES_OF_TRAINING * shape.parameters / 2**30
        note += (
            f"; of {card / 1e12:.0f} TFLOP/s that the card reached in bfloat16; peak memory "
            f"{peak:.1f} GiB, of which weights and optimizer {least:.1f} GiB"
        )
    return [Row("train", seconds, tokens, tokens / seconds, share, note)]


def arithmetic_rate(size: int = 8192, seconds: float = 2.0) -> float:
    """Floating-point operations per second of bfloat16 matrix products on this GPU."""
    import torch

    one = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    one @ one
    torch.cuda.synchronize()
    began, times = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(10):
            one @ one
        torch.cuda.synchronize()
        times += 10
    return 2 * size**3 * times / (time.perf_counter() - began)


def demo_build(arguments: argparse.Namespace) -> list[Row]:
    """The demo's build in a store of its own; a row per stage, then the whole."""
    root = Folder(__file__).parents[1]
    stepmill = [sys.executable, "-m", "launch"]
    with tempfile.TemporaryDirectory() as folder:
        problems, store = Folder(folder) / "problems.jsonl", f"file:{folder}/store"
        subprocess.run(
            [sys.executable, "-m", "demo.world", "--out", str(problems),
             "--problems", str(arguments.demo_problems), "--seed", "1"], cwd=root, check=True,
        )  # fmt: skip
        config = (root / "configs" / "demo.yaml").read_text()
        config = re.sub(r"(?m)^problems:.*$", f"problems: {problems}", config)
        config = re.sub(r"(?m)^store:.*$", f"store: {store}", config)
        config = config.replace("../demo/models", str(root / "demo" / "models"))
        file = Folder(folder) / "demo.yaml"
        file.write_text(config)
        watch = Stopwatch()
        subprocess.run([*stepmill, "build", str(file)], cwd=root, check=True)
        whole = watch.read()[0]
        said = subprocess.run(
            [*stepmill, "status", "demo", "--store", store, "--json"],
            cwd=root, check=True, capture_output=True, text=True,
        )  # fmt: skip
    return [Row("demo", whole, note=_stages_of(json.loads(said.stdout)))]


def _stages_of(status: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{stage['stage']} {stage['seconds']:.0f} s"
        for stage in status["stages"]
        if stage["seconds"] >= 1
    )


def table(rows: Sequence[Row], machine: str) -> str:
    """For people, as Markdown."""
    lines = [
        f"{machine}", "",
        "| part | seconds | tokens | tokens a second | share | |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        rate = f"{row.tokens_per_s:,.0f}" if row.tokens else ""
        share = "" if row.share is None else f"{row.share:.3f}"
        tokens = f"{row.tokens:,}" if row.tokens else ""
        lines.append(
            f"| {row.part} | {row.seconds:.1f} | {tokens} | {rate} | {share} | {row.note} |"
        )
    return "\n".join(lines)


def machine_name() -> str:
    """The card, or that there is none."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{name}, {os.cpu_count()} processor cores"


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--parts", default=",".join(PARTS), help="some of: " + ", ".join(PARTS))
    made.add_argument("--shape", choices=SHAPES, default="7b", help="of the engines")
    made.add_argument("--base", choices=SHAPES, default="1.5b", help="of the training")
    made.add_argument("--in-flight", type=int, default=512)
    made.add_argument("--context", type=int, default=16384)
    made.add_argument("--problems", type=int, default=64)
    made.add_argument("--shard-size", type=int, default=16)
    made.add_argument("--paths", type=int, default=2, help="of a shard, to estimate")
    made.add_argument("--solutions", type=int, default=24, help="of a shard, to verify")
    made.add_argument("--eager", action=argparse.BooleanOptionalAction, default=False)
    made.add_argument("--updates", type=int, default=6, help="of 16 conversations")
    made.add_argument("--row-tokens", type=int, default=4096)
    made.add_argument("--micro-tokens", type=int, default=8192)
    made.add_argument("--demo-problems", type=int, default=96)
    return made


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Every part that was asked for, each line printed when it is known."""
    wanted = arguments.parts.split(",")
    if unknown := [part for part in wanted if part not in PARTS]:
        raise SystemExit(f"--parts {','.join(unknown)}: choose some of {', '.join(PARTS)}")
    shape = SHAPES[arguments.shape]
    found: list[Row] = []

    def engine(made: Shape, name: str, ask: Callable[[Stages], Any]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            model = write_folder(made, Folder(folder) / name)
            found.extend(asyncio.run(ask(Stages(arguments, model))))

    if {"start", "full"} & set(wanted):
        engine(shape, arguments.shape, Stages.full)
    if wide := [part for part in ("sample", "estimate", "rationale") if part in wanted]:
        words = replace(shape, vocab_size=WORDS)
        engine(words, f"{arguments.shape}-{WORDS}-words", lambda stages: stages.wide(wide))
    if "train" in wanted:
        found += training(arguments)
    if "demo" in wanted:
        found += demo_build(arguments)
    return found


def main(given: Sequence[str] | None = None) -> int:
    """Measure; table to standard error, JSON to standard output."""
    for name, value in LOGGING.items():
        os.environ.setdefault(name, value)
    rows = measure(parser().parse_args(given))
    print(table(rows, machine_name()), file=sys.stderr)
    print(json.dumps([row.__dict__ for row in rows], indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
