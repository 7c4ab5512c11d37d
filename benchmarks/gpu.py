"""What this machine's GPU makes of Stepmill, in one table: some 8 minutes, no downloads.

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

A stage's figure is its generated tokens per second over those of a raw pass: the same requests, all
at once, in the same engine with an empty prefix cache. The model draws the tokens; the texts are a
script's (`benchmarks.paper_world`), so that solutions are right or wrong and code runs.

A part is not begun when `--minutes` (8) are spent, which its line then says; one that was begun
goes on to its end. All parts after each other have not been run on a GPU yet as they are now; what
has been is in docs/measured.md. Part `train` is `benchmarks.training_speed`.

What it does not show: trained models, several GPUs; the raw pass knows all requests beforehand,
which no build does. What else a part leaves out stands below the table (`NOT_SHOWN`).
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path as Folder
from typing import Any

from actors.engines.vllm_core import LOGGING
from benchmarks import training_speed
from benchmarks.gpu_stages import WORDS, Budget, Row, Stages
from benchmarks.saturation import Stopwatch
from benchmarks.shapes import SHAPES, Shape, write_folder

PARTS = ("start", "full", "sample", "estimate", "rationale", "train", "demo")
NOT_SHOWN = {
    "start": "how long real weights take from a disk: these are made on the card",
    "full": "samples that end by themselves; prompts of real length",
    "sample": "a vocabulary of real size, whose sampling takes part of a step",
    "estimate": "the same; paths of real length, whose prefixes are reused",
    "rationale": "the same; code that takes longer than a print",
    "train": "conversations of a real build; several GPUs",
    "demo": "models of a real size: engine starts are most of it",
}
"""Part -> what its figure says nothing of."""


def training(arguments: argparse.Namespace) -> list[Row]:
    """Some updates of the base's shape with random weights."""
    given = training_speed.parser().parse_args(["--shape", arguments.base])
    for name in ("updates", "batch", "micro_tokens", "shortest", "longest"):
        setattr(given, name, getattr(arguments, name))
    figures = training_speed.measure(given)
    note = training_speed.said(figures)
    return [
        Row(
            "train", figures["seconds"], figures["tokens"], figures["tokens_per_s"],
            figures.get("share"), note,
        )
    ]  # fmt: skip


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
        build = [*stepmill, "build", str(file)]
        subprocess.run(build, cwd=root, check=True, stdout=2)  # ours is for the table's rows
        whole = watch.read()[0]
        completed = subprocess.run(
            [*stepmill, "status", "demo", "--store", store, "--json"],
            cwd=root, check=True, capture_output=True, text=True,
        )  # fmt: skip
    return [Row("demo", whole, note=_stages_of(json.loads(completed.stdout)))]


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
    parts = dict.fromkeys(row.part for row in rows if row.part in NOT_SHOWN)
    lines += ["", *(f"- `{part}` does not show {NOT_SHOWN[part]}" for part in parts)]
    return "\n".join(lines)


def machine_name() -> str:
    """The card, or that there is none."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{name}, {os.cpu_count()} processor cores"


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--parts", default=",".join(PARTS), help="some of: " + ", ".join(PARTS))
    options.add_argument("--minutes", type=float, default=8.0, help="after which no part is begun")
    options.add_argument("--shape", choices=SHAPES, default="7b", help="of the engines")
    options.add_argument("--base", choices=SHAPES, default="1.5b", help="of the training")
    options.add_argument("--in-flight", type=int, default=512)
    options.add_argument("--context", type=int, default=16384)
    options.add_argument("--problems", type=int, default=64)
    options.add_argument("--shard-size", type=int, default=16)
    options.add_argument("--paths", type=int, default=2, help="of a shard, to estimate")
    options.add_argument("--solutions", type=int, default=24, help="of a shard, to verify")
    options.add_argument("--eager", action=argparse.BooleanOptionalAction, default=False)
    options.add_argument("--updates", type=int, default=3)
    options.add_argument("--batch", type=int, default=64, help="conversations of an update")
    options.add_argument("--micro-tokens", type=int, default=16384)
    options.add_argument("--shortest", type=int, default=1000, help="conversation, in tokens")
    options.add_argument("--longest", type=int, default=4000)
    options.add_argument("--demo-problems", type=int, default=96)
    return options


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Every part that was asked for, each line printed when it is known."""
    parts = arguments.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        raise SystemExit(f"--parts {','.join(unknown)}: choose some of {', '.join(PARTS)}")
    shape = SHAPES[arguments.shape]
    rows: list[Row] = []
    budget = Budget(arguments.minutes)

    def engine(made: Shape, name: str, ask: Callable[[Stages], Any]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            model = write_folder(made, Folder(folder) / name)
            rows.extend(asyncio.run(ask(Stages(arguments, model, budget))))

    if {"start", "full"} & set(parts) and budget.allows("full", rows):
        engine(shape, arguments.shape, Stages.full)
    if wide := [part for part in ("sample", "estimate", "rationale") if part in parts]:
        words = replace(shape, vocab_size=WORDS)
        engine(words, f"{arguments.shape}-{WORDS}-words", lambda stages: stages.wide(wide))
    if "train" in parts and budget.allows("train", rows):
        rows += training(arguments)
    if "demo" in parts and budget.allows("demo", rows):
        rows += demo_build(arguments)
    return rows


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
