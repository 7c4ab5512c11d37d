"""The verb `compare`: runs side by side as a table, as JSON and as a plot.

Invariant: it reads runs and a file of truth; it writes only the file of `--plot`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from launch.shown.bars import passing
from launch.shown.tables import Sheet
from launch.shown.text import json_line, plain, say
from storage.errors import ConfigurationError, InputError
from storage.runs.marks import marks_of, truth_of
from storage.runs.run import Run
from workflows.evaluation.comparison import Compared, compare, people_say, read_labels, read_truth

MARKS = "marks"
"""The value of `--truth` that takes the marks that people made in `browse`."""


def compare_runs(runs: Sequence[Run], truth: Path | None, plot: Path | None, as_json: bool) -> None:
    """Print the comparison; with `plot`, also draw quality against tokens."""
    if plot is not None and plot.suffix != ".png":
        raise ConfigurationError(f"--plot {plot}: name a file that ends in .png")
    if plot is not None and not plot.parent.is_dir():
        raise ConfigurationError(f"--plot {plot}: no such folder: {plot.parent}")
    if truth is None:
        known = {path: index for run in runs for path, index in people_say(run).items()} or None
    else:
        known = _marked(runs) if str(truth) == MARKS else read_truth(truth)
    with passing(disable=as_json) as bar:
        read = [read_labels(run) for run in bar.track(runs, description="reading runs")]
    compared = compare(read, known)
    if truth and all(row.f1 is None for row in compared):
        raise InputError(f"{truth}: no path of these runs is in it")
    if as_json:
        say(json_line([asdict(row) for row in compared]))
    else:
        Console().print(comparison_table(compared, known is not None))
        if known and not truth:
            Console().print("the truth is what people said of the given solutions")
        for row in compared:
            drops = ", ".join(f"{why} {n:,}" for why, n in row.drops.items())
            Console(highlight=False).print(plain(f"{row.run} dropped {drops or 'nothing'}"))
    if plot is not None:
        draw(compared, plot)
        say(f"wrote {plot}", err=True)


def _marked(runs: Sequence[Run]) -> dict[tuple[str, str], int | None]:
    """(run, path_id) -> first error as people marked it. Raises InputError if there is no mark."""
    known = {
        (run.name, path_id): index
        for run in runs
        for path_id, index in truth_of(marks_of(run)).items()
    }
    if not known:
        raise InputError(
            f"--truth {MARKS}: nobody marked a path of these runs: stepmill browse {runs[0].name}"
        )
    return known


def comparison_table(compared: Sequence[Compared], with_truth: bool) -> Sheet:
    """Make a table with a column for each run; the others are compared with the first."""
    table = Sheet(
        title=f"labels, cost and quality; differences are from {compared[0].run}",
    )
    table.add_column("")
    for row in compared:
        table.add_column(row.run, justify="right", overflow="fold")
    lines: list[tuple[str, list[str]]] = [
        ("solutions", [f"{row.solutions:,}" for row in compared]),
        ("labelled", [f"{row.labelled:,}" for row in compared]),
        ("rollouts", [f"{row.rollouts:,}" for row in compared]),
        ("rollouts per solution", [f"{row.rollouts_per_solution:.1f}" for row in compared]),
        ("tokens of rollouts", [f"{row.rollout_tokens:,}" for row in compared]),
        ("tokens of all stages", [f"{row.tokens:,}" for row in compared]),
        ("kept", [_percent(row.kept_share) for row in compared]),
        ("labels that differ", [_percent(row.differs) for row in compared]),
        ("first errors that differ", [_percent(row.first_error_differs) for row in compared]),
    ]
    if with_truth:
        lines += [
            ("paths with a truth", [f"{row.known:,}" for row in compared]),
            ("precision", [_figure(row.precision) for row in compared]),
            ("recall", [_figure(row.recall) for row in compared]),
            ("F1 of wrong steps", [_figure(row.f1) for row in compared]),
            ("first error true", [_figure(row.first_error_true) for row in compared]),
            ("F1 of what is kept", [_figure(row.kept_f1) for row in compared]),
            ("first error true, kept", [_figure(row.kept_first_error_true) for row in compared]),
        ]
    if any(row.pilot_rollouts for row in compared):
        lines.insert(4, ("rollouts of its pilot", [f"{row.pilot_rollouts:,}" for row in compared]))
    for name, cells in lines:
        table.add_row(name, *cells)
    return table


def _figure(share: float | None) -> str:
    return "" if share is None else f"{share:.3f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def draw(compared: Sequence[Compared], file: Path) -> None:
    """Draw F1 (without a truth, agreement with the first run) against rollout tokens, as a PNG."""
    from matplotlib.figure import Figure

    with_truth = any(row.f1 is not None for row in compared)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for row in compared:
        agreed = None if row.differs is None else 1 - row.differs
        if row is compared[0]:
            agreed = 1.0
        quality = row.f1 if with_truth else agreed
        if quality is not None:
            axes.scatter(row.rollout_tokens, quality, s=36)
            axes.annotate(row.run, (row.rollout_tokens, quality), xytext=(5, 4),
                          textcoords="offset points", fontsize=8)  # fmt: skip
    axes.set_xlabel("tokens of rollouts")
    axes.set_ylabel("F1 of wrong steps" if with_truth else f"labels equal to {compared[0].run}'s")
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=150)
