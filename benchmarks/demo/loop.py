"""The whole loop on the demo world: dataset, training, evaluation, choice, refinement.

    python -m benchmarks.loop          (`make loop`)

The script runs the commands that a person would run, one after the other. Then it says of every
claim of the method whether this small world shows it. Each command continues where it stopped, so a
second call takes seconds.

Invariant: every figure comes from the files that the commands wrote. A claim that is not shown is
printed as such. The exit code is 0 only if the commands worked.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from storage.runs.layout import DEFAULT_STORE

ROOT = Path(__file__).parents[2]
BASE = ROOT / "demo" / "models" / "rationale"
POLICY = ROOT / "demo" / "models" / "policy"
REFINER = ROOT / "demo" / "models" / "refiner"
N = 8
DATASET = "demo"
"""Run of `make demo`."""


PARTS = (
    "processbench/measures.json", "bon/measures.json", "refinement/turns.json",
    "critique/turns.json",
)  # fmt: skip
"""What the table is made of."""


@dataclass(frozen=True)
class Command:
    """One step of the loop."""

    what: str
    arguments: tuple[str, ...]
    done: Path | None = None
    """Skip it where this exists."""


@dataclass(frozen=True)
class Claim:
    """One thing that the method is said to do."""

    what: str
    figures: str
    holds: bool


def commands(work: Path, store: str, problems: Path) -> list[Command]:
    """The loop, in order; `stepmill` and `python` are those of this environment."""
    bench, keep = work / "benchmark", ("--store", store)
    genprm, direct = work / "genprm", work / "direct"
    train = (
        "stepmill",
        "train",
        str(ROOT / "configs" / "train_demo.yaml"),
        "--run",
        DATASET,
        *keep,
    )
    evaluate = ("stepmill", "evaluate", str(genprm))
    refine = (
        "stepmill", "refine", str(genprm), str(bench / "refine.jsonl"),
        "--problems", str(bench / "problems.jsonl"), "--max-tokens", "256", "--turns", "2", *keep,
    )  # fmt: skip
    return [
        Command(
            "problems",
            ("python", "-m", "demo.world", "--out", str(problems), "--problems", "96",
             "--seed", "1"),
            problems,
        ),
        Command(
            "dataset",
            ("stepmill", "build", str(ROOT / "configs" / "demo.yaml"), "--run", DATASET,
             "--problems", str(problems), *keep),
        ),
        Command("SFT of the GenPRM", (*train, "--view", "genprm", "--out", str(genprm))),
        Command("SFT of the direct verifier", (*train, "--view", "direct", "--out", str(direct))),
        Command(
            "benchmark", ("python", "-m", "demo.benchmark", "--out", str(bench)),
            bench / "problems.jsonl",
        ),
        Command(
            "ProcessBench",
            (*evaluate, str(bench / "processbench"), "--suite", "processbench", "--n", str(N),
             "--baseline", f"not-run={genprm}:code_not_run",
             "--baseline", f"direct={direct}:direct",
             "--baseline", f"untrained={BASE}:full",
             "--baseline", f"untrained-direct={BASE}:direct",
             *keep, "--out", str(work / "processbench")),
        ),
        Command(
            "best of 8",
            (*evaluate, str(bench / "bon.jsonl"), "--suite", "bon", "--n", str(N),
             "--baseline", f"direct={direct}:direct",
             "--baseline", f"untrained={BASE}:direct", *keep, "--out", str(work / "bon")),
        ),
        Command(
            "refinement",
            (*refine, "--generator", str(POLICY), "--form", "prefix",
             "--out", str(work / "refinement")),
        ),
        Command(
            "refinement by critique",
            (*refine, "--generator", str(REFINER), "--out", str(work / "critique")),
        ),
    ]  # fmt: skip


def run(command: Command, console: Console) -> float:
    """Run one command; returns its seconds. Raises SystemExit with its exit code."""
    if command.done is not None and command.done.exists():
        return 0.0
    console.rule(command.what)
    folder = Path(sys.executable).parent
    started = time.monotonic()
    program = str(folder / command.arguments[0])
    ended = subprocess.run([program, *command.arguments[1:]], cwd=ROOT, check=False)
    if ended.returncode:
        console.print(f"{command.what}: exit code {ended.returncode}; `make loop` continues it")
        raise SystemExit(ended.returncode)
    return time.monotonic() - started


def absolute(store: str) -> str:
    """A store whose folder, if it is one, does not depend on where a command is run."""
    if store.startswith("file:") and not store.startswith("file://"):
        return f"file:{Path(store.removeprefix('file:')).resolve()}"
    return store


def figure(work: Path, part: str, verifier: str, measure: str, k: int) -> float:
    """One figure over all subsets, of what `evaluate` wrote."""
    measures = json.loads((work / part / "measures.json").read_text())["measures"]
    values = [
        row["value"]
        for row in measures
        if (row["verifier"], row["subset"], row["measure"], row["k"]) == (verifier, "", measure, k)
    ]
    return float(values[0])


def claims(work: Path) -> list[Claim]:
    """Every claim of the method with its figures, in percent."""

    def f1(verifier: str, k: int) -> float:
        return 100 * figure(work, "processbench", verifier, "f1", k)

    spread = 100 * figure(work, "processbench", "verifier", "f1_spread", 1)

    def bon(measure: str) -> float:
        return 100 * figure(work, "bon", "verifier", measure, N)

    def above(what: str, better: tuple[str, float], worse: tuple[str, float]) -> Claim:
        text = f"{better[0]} {better[1]:.1f}, {worse[0]} {worse[1]:.1f}"
        return Claim(what, text, better[1] > worse[1])

    def rises(what: str, part: str) -> Claim:
        turns = json.loads((work / part / "turns.json").read_text())
        rights = [100 * turn["accuracy"] for turn in turns]
        text = ", ".join(f"turn {at}: {right:.1f}" for at, right in enumerate(rights))
        return Claim(what, text, len(rights) > 1 and all(b > a for a, b in pairwise(rights)))

    first = (f"GenPRM Pass@1 (±{spread:.1f})", f1("verifier", 1))
    return [
        above("F1 above the direct verifier's, same labels", first, ("direct", f1("direct", 1))),
        above("F1 above the untrained model's", first,
              ("untrained, asked the same way", f1("untrained", 1))),
        above("F1 above the untrained model's bare verdict", first,
              ("untrained", f1("untrained-direct", 1))),
        above(f"Maj@{N} above Pass@1", (f"Maj@{N}", f1("verifier", N)), ("Pass@1", first[1])),
        above("executed code above code not executed", ("executed", first[1]),
              ("not executed", f1("not-run", 1))),
        above(f"best of {N} by lowest step above majority of {N}",
              ("chosen", bon("argmax_min")), ("majority", bon("majority"))),
        rises("refinement raises accuracy over two turns", "refinement"),
        rises("so does a generator that reads the critique", "critique"),
    ]  # fmt: skip


def table_of(found: Sequence[Claim]) -> Table:
    """The claims for people."""
    table = Table(title="what the small world shows", title_justify="left")
    for column in ("claim", "figures (percent)", "shown"):
        table.add_column(column)
    for claim in found:
        table.add_row(claim.what, claim.figures, "yes" if claim.holds else "no")
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the loop and print the claims."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".stepmill/loop"))
    parser.add_argument("--store", default=DEFAULT_STORE)
    parser.add_argument("--problems", type=Path, default=Path(".stepmill/demo-problems.jsonl"))
    parser.add_argument("--skip", nargs="*", default=[], help="steps to leave out, by name")
    parser.add_argument("--only-table", action="store_true", help="from what is there")
    chosen = parser.parse_args(arguments)
    work, console = chosen.work.resolve(), Console()
    seconds: dict[str, float] = {}
    if not chosen.only_table:
        work.mkdir(parents=True, exist_ok=True)
        for command in commands(work, absolute(chosen.store), chosen.problems.resolve()):
            if command.what not in chosen.skip:
                seconds[command.what] = round(run(command, console), 1)
    lacking = [part for part in PARTS if not (work / part).exists()]
    if lacking:
        console.print(f"no table yet: {work / lacking[0]} is not there", highlight=False)
        return 2
    shown = claims(work)
    result: dict[str, Any] = {"claims": [asdict(claim) for claim in shown], "seconds": seconds}
    (work / "loop.json").write_text(json.dumps(result, indent=1) + "\n")
    console.rule("the loop")
    console.print(table_of(shown))
    for what, took in seconds.items():
        console.print(f"{what}: {took:.0f} s", highlight=False)
    total = sum(seconds.values())
    console.print(f"all: {total / 60:.1f} minutes; figures in {work}", highlight=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
