"""The whole road with a real pretrained model on a processor: SmolLM2-135M-Instruct in every role.

    python -m benchmarks.real_model                  # on two cores some 15 minutes
    python -m benchmarks.real_model --math 4 --easy 4 --pairs 0

The script makes the model's folder. It takes MATH problems of the lowest level
(examples/math_problems.jsonl, in order) and very easy ones (examples/easy_problems.jsonl), and
builds configs/smollm2.yaml by the user's command. It prints what became of every item: the model is
weak on purpose, and each of its failures must end as a readable reason. Then it prints what
`stepmill noise` says of the labels. Last it compares the sample stage's tokens a second with those
of the same requests handed straight to vLLM.

Invariant: every figure comes from what the build stored.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from actors.engines.healing import Healed, uncut_by
from actors.engines.vllm import VllmEngine
from benchmarks.saturation import Tap, asked_directly, forget
from benchmarks.smollm2 import smollm2
from launch.config import load
from storage.objects.opening import open_store
from storage.rows.kinds import PROBLEMS, ShardRows
from storage.rows.records import Problem
from storage.runs.run import Run
from storage.runs.scan import scan
from workflows.runs.workers import StageMaker

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs/smollm2.yaml"
EXAMPLES = ROOT / "examples"
LEVEL = "Level 1"
EASY = "very easy, our own"
TEXTS = 10
"""Texts of the writer that are printed whole."""
PER_REASON = 2
"""Texts of the policy that are printed for each reason."""
RAW_PROBLEMS = 6
"""Problems whose samples are also asked of vLLM directly."""


def problems(math: int, easy: int) -> list[dict[str, Any]]:
    """The first problems of MATH's lowest level, then the first of our own."""

    def first(name: str, count: int, level: str) -> list[dict[str, Any]]:
        rows = map(json.loads, (EXAMPLES / name).read_text(encoding="utf-8").splitlines())
        return [row for row in rows if row["level"] == level][:count]

    return first("math_problems.jsonl", math, LEVEL) + first("easy_problems.jsonl", easy, "easy")


def prepare(
    folder: Path,
    rows: Iterable[dict[str, Any]],
    stages: Mapping[str, Mapping[str, Any]] | None = None,
    run: str | None = None,
) -> Path:
    """The configuration as a file in `folder`, with these problems; `stages`: other settings."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    file = folder / "problems.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for model in config["models"].values():
        model["model"] = str(smollm2())
    for stage, settings in (stages or {}).items():
        config["stages"][stage] = {**config["stages"].get(stage, {}), **settings}
    config |= {"problems": str(file), "store": f"file://{folder}/store"}
    config |= {"run": run} if run else {}
    config_file = folder / f"{config['run']}.yaml"
    config_file.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return config_file


def stepmill(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command as a user types it, in `folder`."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run(
        [sys.executable, "-m", "launch", *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )


class Report:
    """What became of a run, as text."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._problems = self._rows("problems").with_columns(
            kind=pl.when(source="MATH").then(pl.format("MATH, {}", "level")).otherwise(pl.lit(EASY))
        )
        outcome = pl.when("correct").then(pl.lit("right answer")).otherwise(pl.lit("wrong answer"))
        self._paths = self._rows("sample").with_columns(
            outcome=pl.coalesce("invalid_reason", outcome)
        )
        self._labels = self._rows("label")
        self._written = self._rows("rationalize").with_columns(
            fate=pl.col("dropped").str.split(":").list.first().fill_null("stands")
        )

    def _rows(self, stage: str) -> pl.DataFrame:
        return scan(self._run, stage).collect()

    def lines(self) -> Iterator[str]:
        """The report."""
        yield from self._sampled()
        yield from self._estimated()
        yield from self._verified()
        yield from self._kept()

    def _sampled(self) -> Iterator[str]:
        yield "\n== sample: what the policy wrote"
        of_problem = self._paths.group_by("problem_id").agg(
            pl.len().alias("paths"),
            pl.col("valid", "selected").sum(),
            pass_at_1=pl.col("correct").filter(pl.col("round") == 0).mean(),
        )
        counted = self._problems.join(of_problem, on="problem_id", how="left").fill_null(0)
        for kind in counted.group_by("kind", maintain_order=True).agg(
            pl.len().alias("problems"),
            pl.col("paths", "valid", "selected").sum(),
            pl.col("pass_at_1").mean(),
        ).iter_rows(named=True):  # fmt: skip
            yield (
                f"{kind['kind']}: {kind['problems']} problems, {kind['paths']} paths, "
                f"{kind['valid']} valid, {kind['selected']} selected; "
                f"Pass@1 {kind['pass_at_1']:.3f}"
            )
        yield _counted("paths", self._paths["outcome"])
        yield from self._drops("sample", "problems")
        references = self._problems.select("problem_id", reference="answer")
        paths = self._paths.join(references, on="problem_id")
        for reason, _ in _commonest(self._paths["outcome"]):
            for path in paths.filter(outcome=reason).head(PER_REASON).iter_rows(named=True):
                yield f"\n--- {reason}: {path['path_id']} (the answer is {path['reference']})"
                yield _indented(path["text"])

    def _estimated(self) -> Iterator[str]:
        yield "\n== estimate, label: rollouts from the policy's own beginnings"
        own = scan(self._run, "estimate").filter(~pl.col("shared"))
        ((n, right, cut),) = own.select(pl.col("n", "c", "truncated").sum()).collect().rows()
        yield f"{n} rollouts, {right} right, {cut} cut at their limit"
        yield from self._drops("estimate", "paths")
        start = self._labels.group_by("problem_id", maintain_order=True).agg(
            pl.col("mc").list.first().last()
        )
        means = ", ".join(f"{name} {mc:.2f}" for name, mc in start.iter_rows())
        yield f"MC of the bare problem: {means or 'none'}"
        steps = self._labels["labels"].explode(empty_as_null=False)
        yield f"{self._labels.height} labelled paths, {steps.sum()} of {len(steps)} steps right"
        for row in self._labels.head(TEXTS).iter_rows(named=True):
            marks = " ".join("right" if label else "wrong" for label in row["labels"])
            yield f"  {row['path_id']}: MC {', '.join(f'{mc:.2f}' for mc in row['mc'])}: {marks}"

    def _verified(self) -> Iterator[str]:
        written = self._written
        tokens = written["tokens"].sort()
        spread = f"median {tokens[len(tokens) // 2]}, most {tokens[-1]}" if len(tokens) else "none"
        runs = written["executions"].explode(empty_as_null=False).struct.field("verdict")
        yield "\n== rationalize: what the writer wrote"
        yield (
            f"{written.height} texts, {written['dropped'].null_count()} of them stand; "
            f"tokens of a text: {spread}"
        )
        yield _counted("texts", written["fate"])
        yield _counted("runs of code in them", runs)
        yield from self._drops("rationalize", "paths")
        fates = written.join(
            self._rows("consensus").select("path_id", "kept", "reason"), on="path_id", how="left"
        ).join(self._labels.select("path_id", "first_error"), on="path_id", how="left")
        first, rest = fates.head(TEXTS), fates.slice(TEXTS).filter(pl.col("dropped").is_not_null())
        more = rest.head(TEXTS)
        yield f"\nthe first {first.height}, then {more.height} of {rest.height} that were dropped"
        for row in pl.concat([first, more]).iter_rows(named=True):
            yield f"\n--- {row['path_id']}, attempt {row['attempt'] + 1}: {_fate(row)}"
            yield _indented(row["text"])

    def _kept(self) -> Iterator[str]:
        settings = self._run.spec.configuration["stages"]["consensus"]
        yield f"\n== consensus (rule `{settings['rule']}`, the paper's is `all_steps`), export"
        yield from self._drops("consensus", "paths")
        exported = self._rows("export")
        wrong = exported.height - exported["first_error"].null_count()
        yield (
            f"{exported.height} exported rows, {exported['labels'].list.len().sum()} steps "
            f"({wrong} with a wrong step, {exported.height - wrong} with no wrong step)"
        )

    def _drops(self, stage: str, items: str) -> Iterator[str]:
        drops = sorted(self._run.totals(stage).drops.items(), key=lambda drop: -drop[1])
        if drops:
            yield f"{items} dropped: " + ", ".join(f"{reason} {count}" for reason, count in drops)


def _fate(row: Mapping[str, Any]) -> str:
    """What became of a text of the writer."""
    if row["dropped"] is not None:
        return str(row["dropped"])
    votes = ", ".join(map(_first_error, row["votes"]))
    outcome = "kept" if row["kept"] else row["reason"]
    return f"votes {votes}; by the labels {_first_error(row['first_error'])}: {outcome}"


def _first_error(index: int | None) -> str:
    return "no error" if index in (None, -1) else f"step {index + 1}"


def _commonest(kinds: pl.Series) -> list[tuple[str, int]]:
    """Each kind and how often it is there, the commonest first."""
    counts = kinds.to_frame("kind").group_by("kind", maintain_order=True).len()
    return counts.sort("len", descending=True, maintain_order=True).rows()


def _counted(what: str, kinds: pl.Series) -> str:
    counts = ", ".join(f"{kind} {count}" for kind, count in _commonest(kinds))
    return f"{what}: {counts or 'none'}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


async def speed(config: Path, pairs: int) -> Iterator[str]:
    """Tokens a second of the sample stage, and of its requests handed straight to vLLM."""
    build = load(config)
    rows = [Problem(**_fields(row)) for row in problems(RAW_PROBLEMS, 0)]
    engine = await VllmEngine.open(build.engine("policy"))
    lines = []
    try:
        for _ in range(pairs):
            tap = Tap(engine)
            healed = Healed(tap, uncut_by(engine.spell))
            stage = StageMaker(build, "speed").around("policy", healed, None)["sample"]
            await forget(engine)
            ours = await _rate(lambda stage=stage: _tokens_of(stage, rows))
            await stage.close()
            await forget(engine)
            raw = await _rate(lambda tap=tap: _raw(engine, tap))
            lines.append(f"stage {ours:.0f}, raw vLLM {raw:.0f} tokens/s, share {ours / raw:.3f}")
    finally:
        await engine.close()
    return iter(lines)


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in Problem.__slots__ if name in row}


async def _tokens_of(stage: Any, rows: Sequence[Problem]) -> int:
    result = await stage.run(ShardRows({PROBLEMS: rows}))
    return int(result.counts["tokens"])


async def _raw(engine: VllmEngine, tap: Tap) -> int:
    tokens = sum(span.tokens for span in await asked_directly(engine, tap.asked))
    return tokens


async def _rate(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    tokens = await work()
    return float(tokens / (time.perf_counter() - began))


def main() -> int:
    """Build and print; 1 where the build fails or its audit finds something."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--math", type=int, default=34, help="problems of MATH")
    parser.add_argument("--easy", type=int, default=20, help="problems of our own")
    parser.add_argument("--pairs", type=int, default=2, help="passes of stage and raw vLLM")
    parser.add_argument("--folder", type=Path, help="where a run is continued; default: a new one")
    arguments = parser.parse_args()
    began = time.perf_counter()
    place = ROOT / ".stepmill"
    place.mkdir(exist_ok=True)
    folder = (arguments.folder or Path(tempfile.mkdtemp(prefix="real-model-", dir=place))).resolve()
    config = prepare(folder, problems(arguments.math, arguments.easy))
    started = time.perf_counter()
    built = stepmill(folder, "build", config.name)
    if built.returncode:
        return 1
    done = time.perf_counter()
    store, name = load(config).store, load(config).run
    run = Run.open(open_store(store), name)
    print("SmolLM2-135M-Instruct as policy, completion model and writer: float32, vLLM, no GPU")
    print(f"{os.cpu_count()} cores, on which {os.getloadavg()[2]:.1f} processes ran or waited to")
    print(f"run {name} of store {store}", file=sys.stderr)
    print(f"model's folder and problems {started - began:.0f} s, build {done - started:.0f} s")
    for line in Report(run).lines():
        print(line)
    audit = stepmill(folder, "audit", name, "--store", store, "--replay", "1.0")
    print("\n== audit, all code of the exported rows run again")
    print(audit.stdout.rstrip())
    print("\n== noise of the labels, from the run's own rows")
    print(stepmill(folder, "noise", name, "--store", store).stdout.rstrip())
    if arguments.pairs:
        print(f"\n== speed: the sample stage on {RAW_PROBLEMS} problems of MATH")
        for line in asyncio.run(speed(config, arguments.pairs)):
            print(line)
    print(f"\nin all {time.perf_counter() - began:.0f} s")
    return audit.returncode


if __name__ == "__main__":
    raise SystemExit(main())
