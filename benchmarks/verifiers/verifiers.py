"""Every kind of process reward model from the same rows, and what each is worth.

    python -m benchmarks.verifiers [--reduced]

Each kind is trained on the demo's run with several seeds: the same base, solutions, updates and
batch. All judge the same held-out solutions, whose truth the world's checker knows. One table and
one plot: ProcessBench's F1, best of 8, calibration, tokens per verdict, mean and standard deviation
over seeds.

A kind and seed whose rewards are stored is not made again; a training that was cut off goes on.

Invariant: every figure comes from stored rewards; a claim that is not shown is printed as such.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks import loop
from benchmarks.verifier_kinds import VARIANTS, Part, Variant, make, make_in_a_process
from benchmarks.verifier_measures import Worth, spread, worth
from storage.rows import schemas
from storage.rows.records import Response, Verification
from storage.runs.layout import DEFAULT_STORE
from workflows.inputs.responses import read_responses

N = 8
WIDTH = 150
"""Columns of the table where nobody looks."""
BEFORE = ("problems", "dataset", "benchmark")
"""Parts of `benchmarks.loop` that this starts from."""
ORDER = ("genprm", "hard", "direct", "orm")
"""Each is said to be worth more than the next."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing, then print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verifiers", description=__doc__)
    parser.add_argument("--reduced", action="store_true", help="two seeds, fewer problems")
    parser.add_argument("--only", nargs="*", default=[], help="names of kinds")
    parser.add_argument("--seeds", type=int, help="seeds of each kind; default 3, reduced 2")
    parser.add_argument("--epochs", type=float, default=5.0)
    parser.add_argument("--work", type=Path, default=Path(".stepmill/verifiers"))
    parser.add_argument("--store", default=DEFAULT_STORE)
    parser.add_argument("--problems", type=Path, default=Path(".stepmill/demo-problems.jsonl"))
    parser.add_argument("--part", nargs=2, metavar=("KIND", "SEED"), help="one, in this process")
    parser.add_argument("--only-table", action="store_true", help="from what is there")
    chosen = parser.parse_args(arguments)
    console, store = Console(), loop.absolute(chosen.store)
    work = chosen.work.resolve()
    variants = [one for one in VARIANTS if not chosen.only or one.name in chosen.only]
    seeds = range(1, 1 + (chosen.seeds or (2 if chosen.reduced else 3)))
    if chosen.part:
        name, seed = chosen.part
        variant = next(one for one in VARIANTS if one.name == name)
        bench, choice = solutions(work, chosen.reduced)
        make(Part(variant, int(seed), work, store, chosen.epochs), [*bench, *choice])
        return 0
    parts = [
        Part(variant, seed, work, store, chosen.epochs) for seed in seeds for variant in variants
    ]
    if not chosen.only_table:
        before = loop.commands(work, store, chosen.problems.resolve())
        for command in before:
            if command.what in BEFORE:
                loop.run(command, console)
        for part in parts:
            if not part.rows.exists():
                given = sys.argv[1:] if arguments is None else arguments
                make_in_a_process("benchmarks.verifiers", part, given, console)
    bench, choice = solutions(work, chosen.reduced)
    found = [
        worth(part.variant.name, part.seed, bench, choice, _rows(part), N)
        for part in parts
        if part.rows.exists()
    ]
    show(found, variants, work, console)
    return 0


def solutions(work: Path, reduced: bool) -> tuple[list[Response], list[Response]]:
    """(ProcessBench's part, best-of-8's) of the demo's benchmark; reduced: a quarter of the
    latter's problems.
    """
    bench = list(read_responses(work / "benchmark" / "processbench"))
    choice = list(read_responses(work / "benchmark" / "bon.jsonl"))
    problems = list(dict.fromkeys(row.problem_id for row in choice))
    kept = set(problems[: len(problems) // 4] if reduced else problems)
    return bench, [row for row in choice if row.problem_id in kept]


def _rows(part: Part) -> list[Verification]:
    return schemas.from_table(Verification, pq.read_table(part.rows))


def show(found: Sequence[Worth], variants: Sequence[Variant], work: Path, console: Console) -> None:
    """Print table and claims; write the figures and the plot."""
    of_kind = {
        variant: rows
        for variant in variants
        if (rows := [row for row in found if row.variant == variant.name])
    }
    table = Table(title="each kind from the same rows: mean ± standard deviation over seeds")
    columns = ("f1", "best_min", "best_last", "calibration_error", "brier")
    titles = ("F1", "best of 8, min", "best of 8, last", "ECE", "Brier", "tokens per verdict")
    table.add_column("kind", no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for variant, rows in of_kind.items():
        cells = []
        for column in columns:
            mean, wide = spread([100 * getattr(row, column) for row in rows])
            cells.append(f"{mean:.1f} ± {wide:.1f}" if len(rows) > 1 else f"{mean:.1f}")
        mean, _ = spread([row.tokens for row in rows])
        written = "written" if variant.kind in ("generative", "direct") else "read"
        table.add_row(variant.title, *cells, f"{mean:.1f} {written}")
    Console(width=max(console.width, WIDTH)).print(table)
    if found:
        one = found[0]
        console.print(
            f"without a choice {100 * one.pass_at_1:.1f}, majority of {N} "
            f"{100 * one.majority:.1f}, best possible {100 * one.pass_at_n:.1f}; "
            f"{len(found)} trainings"
        )
    means = {variant.name: spread([row.f1 for row in rows]) for variant, rows in of_kind.items()}
    for better, worse in pairwise(name for name in ORDER if name in means):
        (above, wide), (below, other) = means[better], means[worse]
        shown = (
            "shown"
            if above - wide > below + other
            else ("within the spread" if above > below else "NOT SHOWN")
        )
        console.print(f"{better} above {worse}: {100 * above:.1f}, {100 * below:.1f}: {shown}")
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in found]), work / "worth.parquet")
    draw(of_kind, work / "verifiers.png")
    console.print(f"written: {work}/worth.parquet, verifiers.png", highlight=False)


def draw(of_kind: dict[Variant, list[Worth]], file: Path) -> None:
    """Draw the table: F1, best of 8, calibration, and F1 against tokens."""
    from matplotlib.figure import Figure  # takes a second to import

    figure = Figure(figsize=(13, 0.5 * len(of_kind) + 2), layout="constrained")
    left, middle, right, last = figure.subplots(1, 4)
    places = list(range(len(of_kind), 0, -1))
    names = [variant.name for variant in of_kind]

    def bars(axes: object, column: str, shift: float, label: str) -> None:
        sides = [spread([100 * getattr(row, column) for row in rows]) for rows in of_kind.values()]
        axes.barh(  # type: ignore[attr-defined]
            [place + shift for place in places], [mean for mean, _ in sides], 0.38,
            xerr=[wide for _, wide in sides], label=label, error_kw={"lw": 1},
        )  # fmt: skip

    bars(left, "f1", 0, "F1")
    for column, shift, label in (("best_min", 0.2, "lowest step"), ("best_last", -0.2, "last")):
        bars(middle, column, shift, label)
    for column, shift, label in (("calibration_error", 0.2, "ECE"), ("brier", -0.2, "Brier")):
        bars(right, column, shift, label)
    for variant, rows in of_kind.items():
        tokens, _ = spread([row.tokens for row in rows])
        f1, wide = spread([100 * row.f1 for row in rows])
        last.errorbar(tokens, f1, wide, marker="o")
        last.annotate(variant.name, (tokens, f1), xytext=(4, 4), textcoords="offset points")
    for axes, title in ((left, "F1 in percent"), (middle, "best of 8: right answers, percent"),
                        (right, "calibration, percent (less is better)")):  # fmt: skip
        axes.set_yticks(places, names if axes is left else [""] * len(names))
        axes.set_title(title, fontsize=9)
        if axes is not left:
            axes.legend(fontsize=7)
    last.set(xscale="log", xlabel="tokens per verdict", ylabel="F1")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    raise SystemExit(main())
