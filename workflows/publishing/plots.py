"""The pictures of a dataset's card: what passed each filter, MC, and the labels along a solution.

Invariant: the same run gives the same bytes, so that a repeated push sends no picture again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import polars as pl

from storage.datasets.card import Described, passed_filters
from storage.datasets.hub_card import Plot
from storage.rows.kinds import LABELS
from storage.runs.run import Run
from storage.runs.scan import scan
from storage.runs.success import Success

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = "plots"
BINS = 20
STEPS = 30
"""Steps of a solution that are drawn; few solutions are longer."""


def plots_of(run: Run, success: Success, stages: Sequence[Described]) -> list[Plot]:
    """The pictures for which the run has rows."""
    return [
        *_funnel(stages, success),
        *(_of_labels(run) if LABELS.stage in run.spec.stages else ()),
    ]


def _funnel(stages: Sequence[Described], success: Success) -> Iterator[Plot]:
    passed = [(str(name), int(rows or 0)) for name, rows, _ in passed_filters(stages, success)]
    if not passed:
        return
    names, rows = zip(*reversed(passed), strict=True)

    def draw(axes: Axes) -> None:
        bars = axes.barh(range(len(rows)), rows)  # a name may come twice
        axes.set_yticks(range(len(rows)), names)
        axes.bar_label(bars, labels=[f"{n:,}" for n in rows], padding=3)
        axes.set(xlabel="paths")
        axes.margins(x=0.12)

    yield _plot("funnel", "What passed each filter.", draw, height=1 + 0.35 * len(passed))


def _of_labels(run: Run) -> Iterator[Plot]:
    labels = scan(run, LABELS.stage)
    states = (
        labels.select(mc=pl.col("mc").list.head(pl.col("mc").list.len() - 1).explode())
        .drop_nulls()
        .select(bin=(pl.col("mc") * BINS).floor().clip(0, BINS - 1).cast(pl.Int32))
        .group_by("bin").len().collect()
    )  # fmt: skip
    if states.height:
        counts = dict(states.iter_rows())
        yield _plot(
            "mc", "States by the share of right rollouts (MC); the last bar holds 1.",
            lambda axes: _histogram(axes, [counts.get(bin, 0) for bin in range(BINS)]),
        )  # fmt: skip
    steps = (
        labels.select(
            step=pl.int_ranges(1, pl.col("labels").list.len() + 1), right=pl.col("labels")
        )
        .explode("step", "right").filter(pl.col("step") <= STEPS)
        .group_by("step").agg(right=pl.col("right").sum(), steps=pl.len()).sort("step").collect()
    )  # fmt: skip
    if steps.height:
        yield _plot(
            "labels", "Labels by the number of the step, before consensus.",
            lambda axes: _labels(axes, *(steps[name].to_list() for name in steps.columns)),
        )  # fmt: skip


def _histogram(axes: Axes, counts: Sequence[int]) -> None:
    axes.bar([(bin + 0.5) / BINS for bin in range(BINS)], counts, width=0.9 / BINS)
    axes.set(xlabel="MC", ylabel="states")


def _labels(axes: Axes, step: Sequence[int], right: Sequence[int], steps: Sequence[int]) -> None:
    wrong = [of - n for of, n in zip(steps, right, strict=True)]
    axes.bar(step, right, label="right")
    axes.bar(step, wrong, bottom=right, label="wrong", hatch="//")
    axes.set(xlabel="step", ylabel="labels")
    axes.legend()


def _plot(name: str, caption: str, draw: Callable[[Any], None], height: float = 3.2) -> Plot:
    from matplotlib.figure import Figure  # takes a second to import

    figure = Figure(figsize=(7, height), layout="constrained")
    draw(figure.subplots())
    data = BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return Plot(f"{FOLDER}/{name}.png", caption, data.getvalue())
