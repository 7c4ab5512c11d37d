"""The verb `plan`, and how `status` shows a plan beside what it came to.

Invariant: it shows what `workflows.builds.plan` returns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from storage.runs.plans import Figure, Plan
from workflows.builds.configuration import BuildConfig
from workflows.builds.plan import plan
from workflows.planning.against import Compared

Shown = TypeVar("Shown", Figure, Compared)
NAMES = {
    "gpu_hours": "GPU-hours",
    "prompt_tokens": "prompt tokens",
    "hours": "hours on the nodes asked for",
    "bytes": "store",
    "kept": "rows kept",
}


def show_plan(
    config: BuildConfig, source: str | None, gpu: str | None, keep: bool, as_json: bool
) -> None:
    """Plan a build and print it."""
    made = plan(config, source, gpu=gpu, keep=keep)
    if as_json:
        typer.echo(json.dumps(asdict(made), ensure_ascii=False))
        return
    console = Console(highlight=False)
    console.print(plan_table(made))
    for note in made.notes:
        console.print(Text(note))


def plan_table(made: Plan) -> Table:
    """Make a table of a plan's ranges."""
    title = f"plan of run {made.run} · {made.problems:,} problems · from {made.source}"
    table = _table(title, ("at least", "likely", "at most"))
    for named, figure in _named(made.figures):
        amounts = (figure.low, figure.likely, figure.high)
        table.add_row(*named, *(shown(figure.name, each, made.currency) for each in amounts))
    return table


def planned_table(figures: Sequence[Compared], currency: str) -> Table:
    """Make a table of a plan's ranges beside what they came to."""
    table = _table("planned and actual", ("planned", "actual", ""))
    verdicts = {True: "within", False: "outside", None: "so far"}
    for named, figure in _named(figures):
        low, high, actual = (
            shown(figure.name, each, currency) for each in (figure.low, figure.high, figure.actual)
        )
        table.add_row(*named, f"{low} to {high}", actual, verdicts[figure.within])
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("model", "", *columns):
        table.add_column(name, justify="left" if name in ("model", "") else "right")
    return table


def _named(figures: Sequence[Shown]) -> Iterator[tuple[tuple[str, str], Shown]]:
    """Each figure with its model, said once, and its name."""
    before = None
    for figure in figures:
        role = figure.role or "all"
        yield (role if role != before else "", NAMES.get(figure.name, figure.name)), figure
        before = role


def shown(name: str, amount: float | None, currency: str) -> str:
    """`12,300`, `4.5 MB`, `3.2`, `12.50 USD`; `?` for what is not known."""
    if amount is None:
        return "?"
    if name == "money":
        return f"{amount:,.2f} {currency}"
    if name == "bytes":
        size = next((unit for unit in SIZES if amount >= unit[1]), SIZES[-1])
        return f"{amount / size[1]:.3g} {size[0]}"
    return f"{amount:,.0f}" if amount >= 100 or amount == int(amount) else f"{amount:.3g}"


SIZES = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("bytes", 1.0))
