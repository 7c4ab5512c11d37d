"""A plan as a table, and beside what its run came to.

Invariant: amounts are rounded for people; scripts read `--json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from launch.shown.tables import Sheet
from storage.runs.plans import Figure, Plan
from workflows.planning.against import Compared

Shown = TypeVar("Shown", Figure, Compared)
NAMES = {
    "gpu_hours": "GPU-hours",
    "prompt_tokens": "prompt tokens",
    "hours": "hours on the nodes asked for",
    "bytes": "store",
    "kept": "rows kept",
}
VERDICTS = {True: "within", False: "outside", None: "so far"}


def plan_table(made: Plan) -> Sheet:
    """Make a table of a plan's ranges."""
    title = f"plan of run {made.run} · {made.problems:,} problems · from {made.source}"
    table = _table(title, ("at least", "likely", "at most"))
    for named, figure in _named(made.figures):
        amounts = (figure.low, figure.likely, figure.high)
        table.add_row(*named, *(shown(figure.name, each, made.currency) for each in amounts))
    return table


def planned_table(figures: Sequence[Compared], currency: str) -> Sheet:
    """Make a table of a plan's ranges beside what they came to."""
    table = _table("planned and actual", ("planned", "actual", ""))
    for line in planned_lines(figures, currency):
        table.add_row(*line.values())
    return table


def planned_lines(figures: Sequence[Compared], currency: str) -> list[dict[str, str]]:
    """Each figure of a plan beside what it came to, in words."""
    return [
        {
            "model": role,
            "figure": name,
            "planned": f"{shown(figure.name, figure.low, currency)} to "
            f"{shown(figure.name, figure.high, currency)}",
            "actual": shown(figure.name, figure.actual, currency),
            "verdict": VERDICTS[figure.within],
        }
        for (role, name), figure in _named(figures)
    ]


def _table(title: str, columns: Sequence[str]) -> Sheet:
    table = Sheet(title, headings=2)
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
