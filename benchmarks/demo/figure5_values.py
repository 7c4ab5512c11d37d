"""The points of `benchmarks.figure5`: how they are stored, what they are worth, and their picture.

Invariant: all is computed from the stored rows. A problem without an answer is wrong, a solution
without a verdict is not hit.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeVar

import pyarrow.parquet as pq
from rich.table import Table

from storage.rows import schemas
from storage.rows.parquet import write_parquet
from workflows.evaluation.processbench import Judgement, harmonic_mean, score
from workflows.scoring.output import replaced

DRAWS = 400
PANELS = {
    "search": ("problems solved", "right answers", "problem"),
    "pruning": ("Maj@N, all histories and pruned", "ProcessBench F1", "solution"),
}
"""Panel -> title, what is measured, of what."""
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Searched:
    """One problem at one point and seed."""

    family: str
    label: str
    seed: int
    problem_id: str
    right: bool
    policy_tokens: int
    verifier_tokens: int


@dataclass(frozen=True, slots=True)
class Judged:
    """One solution at one point and seed."""

    family: str
    label: str
    seed: int
    response_id: str
    subset: str
    truth: int
    predicted: int | None
    tokens: int
    steps: int


@dataclass(frozen=True, slots=True)
class Value:
    """A point of the figure."""

    panel: str
    family: str
    label: str
    tokens: float
    """Per problem, or per solution."""
    value: float
    """Accuracy, or F1, in 0..1."""
    spread: float
    """Standard deviation over benchmarks of this size."""
    between_seeds: float
    """Standard deviation over seeds on this benchmark; 0 with one seed."""
    items: int
    """Problems, or solutions."""
    seeds: int


def part_of(out: Path, panel: str, label: str, seed: int) -> Path:
    """The file of one point and seed."""
    return out / panel / f"{re.sub(r'[^A-Za-z0-9.]+', '-', label)}-{seed}.parquet"


def store(file: Path, kind: type[Row], rows: Sequence[Row]) -> None:
    """Write rows; the file is there whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replaced(file) as stream:
        stream.write(write_parquet(schemas.to_table(kind, rows)))


def read_parts(out: Path, panel: str, kind: type[Row]) -> list[Row]:
    """The rows of every point of a panel."""
    files = sorted((out / panel).glob("*.parquet"))
    return [row for file in files for row in schemas.from_table(kind, pq.read_table(file))]


def values_of(searched: Sequence[Searched], judged: Sequence[Judged]) -> list[Value]:
    """The points of both panels, in the order of families and tokens."""
    values = [
        _value("search", rows, lambda row: row.policy_tokens + row.verifier_tokens,
               lambda row: row.problem_id, accuracy)
        for rows in _points(searched)
    ] + [
        _value("pruning", rows, lambda row: row.tokens, lambda row: row.response_id, f1)
        for rows in _points(judged)
    ]  # fmt: skip
    return sorted(values, key=lambda value: (value.panel, value.family, value.tokens))


def _points(rows: Sequence[Any]) -> Iterator[list[Any]]:
    def key(row: Any) -> tuple[str, str]:
        return row.family, row.label

    for _, of_point in groupby(sorted(rows, key=key), key):
        yield list(of_point)


def accuracy(rows: Sequence[Searched]) -> float:
    """Share of right answers."""
    return fmean(row.right for row in rows)


def f1(rows: Sequence[Judged]) -> float:
    """Mean over seeds of ProcessBench's F1, averaged over subsets."""
    seeds = sorted({row.seed for row in rows})
    return fmean(
        score(
            Judgement(row.subset, row.truth, row.predicted) for row in rows if row.seed == seed
        ).f1
        for seed in seeds
    )


def drawn_accuracy(rows: Sequence[Searched], rng: random.Random) -> float:
    """The accuracy over problems drawn with replacement."""
    by_item = _by_item(rows, lambda row: row.problem_id, lambda row: row.right)
    return fmean(rng.choices(by_item, k=len(by_item)))


def drawn_f1(rows: Sequence[Judged], rng: random.Random) -> float:
    """F1 over solutions drawn with replacement within their subset and class."""
    classes: dict[tuple[str, bool], list[Judged]] = {}
    for row in rows:
        classes.setdefault((row.subset, row.truth >= 0), []).append(row)
    drawn = {}
    for key, each in classes.items():
        hits = _by_item(each, lambda row: row.response_id, lambda row: row.predicted == row.truth)
        drawn[key] = fmean(rng.choices(hits, k=len(hits)))
    subsets = sorted({subset for subset, _ in drawn})
    return fmean(harmonic_mean(drawn[subset, True], drawn[subset, False]) for subset in subsets)


def _by_item(
    rows: Sequence[Row], name: Callable[[Row], str], of: Callable[[Row], float]
) -> list[float]:
    """The mean of each item over its seeds."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(name(row), []).append(of(row))
    return [fmean(each) for each in values.values()]


def _value(
    panel: str,
    rows: Sequence[Any],
    tokens: Callable[[Any], int],
    name: Callable[[Any], str],
    worth: Callable[[Sequence[Any]], float],
) -> Value:
    rng = random.Random(0)
    drawn = drawn_accuracy if worth is accuracy else drawn_f1
    seeds = sorted({row.seed for row in rows})
    by_seed = [worth([row for row in rows if row.seed == seed]) for seed in seeds]
    return Value(
        panel=panel,
        family=rows[0].family,
        label=rows[0].label,
        tokens=fmean(map(tokens, rows)),
        value=worth(rows),
        spread=stdev(drawn(rows, rng) for _ in range(DRAWS)),
        between_seeds=stdev(by_seed) if len(seeds) > 1 else 0.0,
        items=len({name(row) for row in rows}),
        seeds=len(seeds),
    )


def table_of(values: Sequence[Value]) -> Table:
    """The points for people."""
    table = Table(title="accuracy and F1 in percent, tokens generated by both models")
    for column in ("panel", "point", "tokens", "value", "spread", "between seeds"):
        table.add_column(column, justify="left" if column in ("panel", "point") else "right")
    for value in values:
        table.add_row(
            value.panel, value.label, f"{value.tokens:,.0f}", f"{100 * value.value:.1f}",
            f"{100 * value.spread:.1f}", f"{100 * value.between_seeds:.1f}",
        )  # fmt: skip
    return table


def draw(values: Sequence[Value], out: Path) -> None:
    """Write figure5.png, figure5.parquet and figure5.json."""
    from matplotlib.figure import Figure  # takes a second to import

    store(out / "figure5.parquet", Value, values)
    rows = [asdict(value) for value in values]
    (out / "figure5.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    there = [panel for panel in PANELS if any(value.panel == panel for value in values)]
    figure = Figure(figsize=(5.5 * len(there), 4.5), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(there), squeeze=False)[0], there, strict=True):
        title, what, item = PANELS[panel]
        of_panel = [value for value in values if value.panel == panel]
        for family in dict.fromkeys(value.family for value in of_panel):
            points = [value for value in of_panel if value.family == family]
            axes.errorbar(
                [point.tokens for point in points],
                [100 * point.value for point in points],
                [100 * point.spread for point in points],
                marker="o", markersize=4, capsize=2, elinewidth=0.6, linewidth=1.2, label=family,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(f"generated tokens of both models, a {item}")
        axes.set_ylabel(f"{what}, percent")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(out / "figure5.png", dpi=110)
