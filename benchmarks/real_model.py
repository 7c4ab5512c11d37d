"""The whole road with a real pretrained model on a processor: SmolLM2-135M-Instruct in every role.

    python -m benchmarks.real_model                  # on two cores some 15 minutes
    python -m benchmarks.real_model --math 4 --easy 4 --pairs 0

Makes the model's folder, takes problems of MATH of the lowest level (examples/math_problems.jsonl,
in the file's order) and very easy ones of our own (examples/easy_problems.jsonl), and builds
configs/smollm2.yaml by the command that a user types. Printed is what became of everything: a weak
model is the point, and whatever it does wrong has to end as a reason that can be read. At last the
sample stage's tokens a second are held against those of the same requests handed straight to vLLM.

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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import yaml

from actors.engines.healing import Healed, uncut_by
from actors.engines.vllm import VllmEngine
from benchmarks.saturation import Tap, asked_directly, forget
from benchmarks.smollm2 import smollm2
from launch.config import load
from storage.objects.opening import open_store
from storage.rows import kinds
from storage.rows.kinds import PROBLEMS, Rows, ShardRows
from storage.rows.records import (
    Problem,
    Rationale,
    standing,
)
from storage.runs.run import Run
from workflows.sampling.quota import pass_at_1
from workflows.stages.maker import StageMaker

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs/smollm2.yaml"
EXAMPLES = ROOT / "examples"
LEVEL = "Level 1"
TEXTS = 10
"""Texts of the writer that are printed whole."""
PER_REASON = 2
"""Texts of the policy that are printed for each reason."""
RAW_PROBLEMS = 6
"""Problems whose samples are also asked of vLLM directly."""

Row = TypeVar("Row")


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
    made = folder / f"{config['run']}.yaml"
    made.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return made


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
        self._problems = {row.problem_id: row for row in self._rows(kinds.PROBLEMS)}
        self._paths = self._rows(kinds.PATHS)
        self._labels = {row.path_id: row for row in self._rows(kinds.LABELS)}
        self._written = self._rows(kinds.RATIONALES)
        self._agreements = {row.path_id: row for row in self._rows(kinds.AGREEMENTS)}
        self.exported = self._rows(kinds.EXAMPLES)

    def _rows(self, kind: Rows[Row]) -> list[Row]:
        shards = sorted(self._run.shards_of(kind.stage))
        return [row for shard in shards for row in self._run.read_rows(kind, shard)]

    def lines(self) -> Iterator[str]:
        """The report."""
        yield from self._sampled()
        yield from self._estimated()
        yield from self._verified()
        yield from self._kept()

    def _sampled(self) -> Iterator[str]:
        yield "\n== sample: what the policy wrote"
        for source, ids in self._sources().items():
            of = [[path for path in self._paths if path.problem_id == one] for one in ids]
            paths = [path for each in of for path in each]
            yield (
                f"{source}: {len(ids)} problems, {len(paths)} paths, "
                f"{sum(path.valid for path in paths)} valid, "
                f"{sum(path.selected for path in paths)} selected; "
                f"Pass@1 {fmean(map(pass_at_1, of)):.3f}"
            )
        kind = {path.path_id: path.invalid_reason or _right(path.correct) for path in self._paths}
        yield _counted("paths", kind.values())
        yield from self._drops("sample", "problems")
        for reason in dict(Counter(kind.values()).most_common()):
            found = [path for path in self._paths if kind[path.path_id] == reason]
            for path in found[:PER_REASON]:
                reference = self._problems[path.problem_id].answer
                yield f"\n--- {reason}: {path.path_id} (the answer is {reference})"
                yield _indented(path.text)

    def _sources(self) -> dict[str, list[str]]:
        """Kind of problem -> problem_ids."""
        of: dict[str, list[str]] = {}
        for row in self._problems.values():
            level = f"MATH, {row.level}" if row.source == "MATH" else "very easy, our own"
            of.setdefault(level, []).append(row.problem_id)
        return of

    def _estimated(self) -> Iterator[str]:
        yield "\n== estimate, label: rollouts from the policy's own beginnings"
        rollouts = self._rows(kinds.ROLLOUTS)
        own = [row for row in rollouts if not row.shared]
        yield (
            f"{sum(row.n for row in own)} rollouts, {sum(row.c for row in own)} right, "
            f"{sum(row.truncated for row in own)} cut at their limit"
        )
        yield from self._drops("estimate", "paths")
        start = {row.problem_id: row.mc[0] for row in self._labels.values()}
        means = ", ".join(f"{name} {mc:.2f}" for name, mc in start.items())
        yield f"MC of the bare problem: {means or 'none'}"
        steps = [label for row in self._labels.values() for label in row.labels]
        yield f"{len(self._labels)} labelled paths, {sum(steps)} of {len(steps)} steps right"
        for row in list(self._labels.values())[:TEXTS]:
            marks = " ".join("right" if label else "wrong" for label in row.labels)
            yield f"  {row.path_id}: MC {', '.join(f'{mc:.2f}' for mc in row.mc)}: {marks}"

    def _verified(self) -> Iterator[str]:
        stands = standing(self._written)
        runs = [run for row in self._written for run in row.executions]
        yield "\n== rationalize: what the writer wrote"
        yield (
            f"{len(self._written)} texts, {len(stands)} of them stand; "
            f"tokens of a text: {_spread([row.tokens for row in self._written])}"
        )
        yield _counted("texts", (_reason(row) for row in self._written))
        yield _counted("runs of code in them", (run.verdict for run in runs))
        yield from self._drops("rationalize", "paths")
        first = self._written[:TEXTS]
        more = [row for row in self._written[TEXTS:] if row.dropped is not None]
        yield f"\nthe first {len(first)}, then {len(more[:TEXTS])} of {len(more)} that were dropped"
        for row in (*first, *more[:TEXTS]):
            yield f"\n--- {row.path_id}, attempt {row.attempt + 1}: {self._fate(row)}"
            yield _indented(row.text)

    def _fate(self, row: Rationale) -> str:
        """What became of a text of the writer."""
        if row.dropped is not None:
            return row.dropped
        agreement = self._agreements.get(row.path_id)
        votes = ", ".join(map(_first_error, row.votes))
        label = _first_error(self._labels[row.path_id].first_error)
        outcome = "kept" if agreement and agreement.kept else agreement and agreement.reason
        return f"votes {votes}; by the labels {label}: {outcome}"

    def _kept(self) -> Iterator[str]:
        settings = self._run.spec.configuration["stages"]["consensus"]
        yield f"\n== consensus (rule `{settings['rule']}`, the paper's is `all_steps`), export"
        yield from self._drops("consensus", "paths")
        firsts = Counter(
            "a wrong step" if row.first_error is not None else "no wrong step"
            for row in self.exported
        )
        yield (
            f"{len(self.exported)} exported rows, {sum(len(row.labels) for row in self.exported)} "
            f"steps ({', '.join(f'{n} with {what}' for what, n in firsts.items())})"
        )

    def _drops(self, stage: str, items: str) -> Iterator[str]:
        drops = self._run.totals(stage).drops
        if drops:
            yield _counted(f"{items} dropped", (r for r, n in drops.items() for _ in range(n)))


def _right(correct: bool) -> str:
    return "right answer" if correct else "wrong answer"


def _reason(row: Rationale) -> str:
    return "stands" if row.dropped is None else row.dropped.partition(":")[0]


def _first_error(index: int | None) -> str:
    return "no error" if index in (None, -1) else f"step {index + 1}"


def _counted(what: str, kinds: Iterable[str]) -> str:
    found = Counter(kinds).most_common()
    return f"{what}: " + (", ".join(f"{kind} {count}" for kind, count in found) or "none")


def _spread(numbers: Sequence[int]) -> str:
    if not numbers:
        return "none"
    ordered = sorted(numbers)
    return f"median {ordered[len(ordered) // 2]}, most {ordered[-1]}"


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
    tokens, _ = await asked_directly(engine, tap.asked)
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
    asked = parser.parse_args()
    began = time.perf_counter()
    place = ROOT / ".stepmill"
    place.mkdir(exist_ok=True)
    folder = (asked.folder or Path(tempfile.mkdtemp(prefix="real-model-", dir=place))).resolve()
    config = prepare(folder, problems(asked.math, asked.easy))
    made = time.perf_counter()
    built = stepmill(folder, "build", config.name)
    if built.returncode:
        return 1
    done = time.perf_counter()
    store, name = load(config).store, load(config).run
    run = Run.open(open_store(store), name)
    print("SmolLM2-135M-Instruct as policy, completion model and writer: float32, vLLM, no GPU")
    print(f"{os.cpu_count()} cores, on which {os.getloadavg()[2]:.1f} processes ran or waited to")
    print(f"run {name} of store {store}", file=sys.stderr)
    print(f"model's folder and problems {made - began:.0f} s, build {done - made:.0f} s")
    for line in Report(run).lines():
        print(line)
    audit = stepmill(folder, "audit", name, "--store", store, "--replay", "1.0")
    print("\n== audit, all code of the exported rows run again")
    print(audit.stdout.rstrip())
    if asked.pairs:
        print(f"\n== speed: the sample stage on {RAW_PROBLEMS} problems of MATH")
        for line in asyncio.run(speed(config, asked.pairs)):
            print(line)
    print(f"\nin all {time.perf_counter() - began:.0f} s")
    return audit.returncode


if __name__ == "__main__":
    raise SystemExit(main())
