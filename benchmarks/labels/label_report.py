"""What the label laboratory says of a method: a row, its line in the table, its point in a plot.

Invariant: figures only; nothing is measured here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path as File
from statistics import mean
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """What one method cost and what came of it."""

    method: str
    rule: str
    rollouts: float
    """Per solution."""
    tokens: float
    """Per solution."""
    saved: float
    """Share of the rollouts of `exact`."""
    labelled: int
    error: float
    """Share of labels that are not those of all 512 rollouts."""
    spread: float
    """Half the range of `error` over the seeds."""
    first_error: float
    """Share of solutions whose first wrong step is that of all 512 rollouts."""
    differs: float
    """Share of labels that are not those of the rule's first method."""
    precision: float
    recall: float
    f1: float
    first_error_true: float
    """Share of solutions whose first wrong step is the checker's."""
    kept: float
    """Share that consensus on the first error keeps."""
    kept_f1: float
    kept_first_error_true: float
    kept_all_steps: float
    """Share that consensus on every step keeps, the paper's."""
    drops: dict[str, int]


def averaged(rows: Sequence[Row]) -> Row:
    """The mean over the seeds; counts of the first."""
    figures = [name for name, value in asdict(rows[0]).items() if isinstance(value, float)]
    errors = [row.error for row in rows]
    means = {name: round(mean(getattr(row, name) for row in rows), 4) for name in figures}
    return replace(rows[0], **means | {"spread": round((max(errors) - min(errors)) / 2, 4)})


HEAD = (
    f"{'method':30}{'rollouts':>9}{'tokens':>8}{'saved':>7}{'error':>7}{'+-':>6}{'1st err':>8}"
    f"{'differs':>8}{'prec':>7}{'recall':>7}{'F1':>7}{'1st true':>9}{'kept':>7}{'kept F1':>8}"
)


def line(row: Row) -> str:
    """A row of the table."""
    return (
        f"{row.method:30}{row.rollouts:9.1f}{row.tokens:8.0f}{row.saved:7.1%}{row.error:7.2%}"
        f"{row.spread:6.2%}{row.first_error:8.1%}{row.differs:8.2%}{row.precision:7.3f}"
        f"{row.recall:7.3f}{row.f1:7.3f}{row.first_error_true:9.1%}{row.kept:7.1%}{row.kept_f1:8.3f}"
    )


def draw(rows: Sequence[Row], file: File) -> None:
    """Two panels against tokens: label error within the rule, and the checker's first error."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(14, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    ratio = [row for row in rows if row.rule == "ratio" and "rerun" not in row.method]
    for axes, chosen, name, label in (
        (left, ratio, "error", "ratio labels that differ from those of 512 rollouts"),
        (right, rows, "first_error_true", "solutions whose first error is the checker's"),
    ):
        for row in chosen:
            number = rows.index(row) + 1
            axes.scatter(row.tokens, getattr(row, name), s=30, color=f"C{number % 10}",
                         label=f"{number}  {row.method}")  # fmt: skip
            axes.annotate(str(number), (row.tokens, getattr(row, name)), xytext=(4, 3),
                          textcoords="offset points", fontsize=8)  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.set_xlabel("tokens of rollouts per solution")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    figure.legend(*right.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(file, dpi=150)


def keep(
    rows: Sequence[Any], draw: Callable[[Sequence[Any], File], None], folder: File, name: str
) -> None:
    """Write rows, which are dataclasses, as NAME.json and their plot as NAME.png."""
    folder.mkdir(parents=True, exist_ok=True)
    table = json.dumps([asdict(row) for row in rows], indent=1)
    (folder / f"{name}.json").write_text(table)
    draw(rows, folder / f"{name}.png")
