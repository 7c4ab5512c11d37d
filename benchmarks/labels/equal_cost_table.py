"""The table and the plot of `benchmarks.equal_cost`: a line for each strategy at each size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as File
from statistics import mean


@dataclass(frozen=True, slots=True)
class Figures:
    """What a strategy came to, by one seed or as the mean of several."""

    cost: float
    """Tokens times millions of parameters, per solution."""
    f1: float
    first: float
    differs: float
    kept: float
    kept_f1: float
    kept_first: float
    ece: float
    rms: float
    """NaN where a figure has no meaning."""


NAMES = tuple(Figures.__dataclass_fields__)
APART = ("adaptive: limit", "injected", "int")
"""Knows what no build knows, is given its truth, labels wrong solutions only: out of the race."""


@dataclass(frozen=True, slots=True)
class Line:
    """A strategy at one size: means of the seeds, and half their range."""

    name: str
    size: str
    mean: Figures
    spread: Figures


def over_seeds(name: str, size: str, found: Sequence[Figures]) -> Line:
    """Mean and half range of each figure."""
    columns = {each: [getattr(figures, each) for figures in found] for each in NAMES}
    means = {each: mean(values) for each, values in columns.items()}
    spreads = {each: (max(values) - min(values)) / 2 for each, values in columns.items()}
    return Line(name, size, Figures(**means), Figures(**spreads))


def lines_of(file: File) -> list[Line]:
    """The lines that a file of `benchmarks.label_report.keep` has."""
    return [
        Line(**row | {part: Figures(**row[part]) for part in ("mean", "spread")})
        for row in json.loads(file.read_text(encoding="utf-8"))
    ]


def shown(line: Line) -> str:
    """A row of the table in Markdown."""

    def cell(name: str) -> str:
        value, spread = getattr(line.mean, name), getattr(line.spread, name)
        if value != value:
            return "-"
        return f"{value:.0f}" if name == "cost" else f"{100 * value:.1f} ± {100 * spread:.1f}"

    return f"| {line.name} | {line.size} | " + " | ".join(map(cell, NAMES)) + " |"


def draw(lines: Sequence[Line], file: File) -> None:
    """First errors found and F1 against cost; what nothing cheaper reaches is joined (`APART` not).

    What asked no model has no place on the axis of costs.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 5), layout="constrained")
    panels = figure.subplots(1, 2)
    lines = [line for line in lines if line.mean.cost]
    names = list(dict.fromkeys(line.name for line in lines))
    for axes, name, label in (
        (panels[0], "first", "solutions whose first error is the checker's"),
        (panels[1], "f1", "F1 of wrong steps against the checker"),
    ):
        for number, strategy in enumerate(names):
            at = [(line.mean.cost, getattr(line.mean, name)) for line in lines
                  if line.name == strategy]  # fmt: skip
            axes.plot(*zip(*sorted(at), strict=True), marker="osv^DPX"[number // 7 % 7], ms=5,
                      lw=0.7, color=f"C{number % 10}", label=strategy)  # fmt: skip
        best, front = 0.0, []
        for line in sorted(lines, key=lambda line: line.mean.cost):
            if line.name not in APART and getattr(line.mean, name) > best:
                best = getattr(line.mean, name)
                front.append((line.mean.cost, best))
        axes.step(*zip(*front, strict=True), where="post", color="black", lw=1, ls=":")
        axes.set_xscale("log")
        axes.set_xlabel("cost per solution: tokens x millions of parameters")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(file, dpi=120)
