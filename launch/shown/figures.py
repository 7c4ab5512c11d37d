"""The table and the curves of an evaluation.

Invariant: they show the measures as they are, in percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from launch.shown.tables import Sheet
from workflows.evaluation.measures import Measure, Suite
from workflows.votes.rewards import AGGREGATES


def table_of(measures: Sequence[Measure], suite: Suite, n: int) -> Sheet:
    """Make a table with a row for each verifier (and number of histories); values in percent."""
    return _processbench(measures, n) if suite == "processbench" else _bon(measures, n)


def _verifiers(measures: Sequence[Measure]) -> list[str]:
    return list(dict.fromkeys(measure.verifier for measure in measures))


def _cell(measures: Sequence[Measure], verifier: str, subset: str, measure: str, k: int) -> str:
    key = (verifier, subset, measure, k)
    values = [row for row in measures if (row.verifier, row.subset, row.measure, row.k) == key]
    return f"{100 * values[0].value:.1f}" if values else "-"


def _processbench(measures: Sequence[Measure], n: int) -> Sheet:
    subsets = list(dict.fromkeys(row.subset for row in measures if row.subset))
    thresholds = ", ".join(
        dict.fromkeys(f"{row.threshold:g}" for row in measures if row.threshold is not None)
    )
    table = Sheet(f"F1 in percent, threshold {thresholds}")
    for column in ("verifier", "", *subsets, "average", "errors found", "right left alone"):
        table.add_column(column, justify="left" if column in ("verifier", "") else "right")
    for verifier in _verifiers(measures):
        for k in dict.fromkeys((1, n)):
            parts = ("error_accuracy", "correct_accuracy")
            means = [
                [row.value for row in measures
                 if (row.verifier, row.measure, row.k) == (verifier, part, k)]
                for part in parts
            ]  # fmt: skip
            table.add_row(
                verifier if k == 1 else "",
                "Pass@1" if k == 1 else f"Maj@{k}",
                *(_cell(measures, verifier, subset, "f1", k) for subset in (*subsets, "")),
                *(f"{100 * sum(each) / len(each):.1f}" if each else "-" for each in means),
            )
    return table


def _bon(measures: Sequence[Measure], n: int) -> Sheet:
    table = Sheet(f"right answers in percent, best of {n}")
    table.add_column("chosen by")
    rules = ("argmax", "vote")
    for column in (f"{rule} {aggregate}" for rule in rules for aggregate in AGGREGATES):
        table.add_column(column, justify="right")
    for verifier in _verifiers(measures):
        table.add_row(
            verifier,
            *(_cell(measures, verifier, "", f"{rule}_{aggregate}", n)
              for rule in rules for aggregate in AGGREGATES),
        )  # fmt: skip
    first = _verifiers(measures)[0]
    for name, measure in (
        ("Pass@1 (no choice)", "pass_at_1"),
        (f"majority of {n}", "majority"),
        (f"Pass@{n} (best possible)", "pass_at_n"),
    ):
        table.add_row(name, _cell(measures, first, "", measure, n))
    return table


def draw(measures: Sequence[Measure], suite: Suite, folder: Path) -> None:
    """Draw F1 over histories, or accuracy over solutions, as a PNG with a line per verifier."""
    from matplotlib.figure import Figure  # takes a second to import

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()

    def line(verifier: str, measure: str, label: str, style: str = "-") -> None:
        points = sorted(
            (row.k, 100 * row.value)
            for row in measures
            if (row.verifier, row.subset, row.measure) == (verifier, "", measure)
        )
        if points:
            axes.plot(*zip(*points, strict=True), style, marker="o", label=label)

    verifiers = _verifiers(measures)
    if suite == "processbench":
        for verifier in verifiers:
            line(verifier, "f1", verifier)
        axes.set(xlabel="histories averaged (Maj@N)", ylabel="F1, average over subsets")
    else:
        for verifier in verifiers:
            line(verifier, "argmax_min", f"{verifier}, lowest step")
        for measure, label in (("majority", "majority"), ("pass_at_n", "best possible")):
            line(verifiers[0], measure, label, "--")
        axes.set(xlabel="solutions to choose from (N)", ylabel="right answers, percent")
    axes.set_xscale("log", base=2)
    axes.legend()
    axes.grid(alpha=0.3)
    name = "maj_at_n.png" if suite == "processbench" else "best_of_n.png"
    figure.savefig(folder / name, dpi=110)
