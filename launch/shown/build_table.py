"""A build as lines of a terminal of any width: nothing in it moves but what changed.

Invariant: widths follow from the terminal, the stages' names and the number of shards alone, and
the number of lines from the stages. A text that is cut ends in an ellipsis, and what is full
differs from what is empty without colours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from launch.shown.bars import Bar
from launch.shown.stage_numbers import Left, StageNumbers
from launch.verbs.runs.status import duration

GAP, LEAST_BAR, LONGEST_BAR = 2, 8, 30
ROWS, RATE, DROPPED = 9, 8, 8
"""Widths of columns: `1,234,567`, `tokens/s`, `1234,567`."""


@dataclass(frozen=True, slots=True)
class BuildView:
    """Everything that is shown of a build at a moment."""

    run: str
    stages: Sequence[StageNumbers]
    passed: float
    left: Left
    workers: str
    message: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines."""
        width, ascii_only = options.max_width, options.ascii_only

        def line(text: str, style: str = "") -> Text:
            return Text(cut(text, width, ascii_only) or " ", style=style, no_wrap=True)

        yield line(f"{time_said(self.passed, self.left, width)} · run {self.run}")
        yield self._table(width, ascii_only)
        drops: Counter[str] = Counter()
        for stage in self.stages:
            drops.update(stage.drops)
        yield line(drops_said(drops, width), "dim")
        yield line(self.workers, "dim")
        yield line(self.message)

    def _table(self, width: int, ascii_only: bool) -> Table:
        digits = len(str(max((stage.shards for stage in self.stages), default=1)))
        names = max((len(stage.name) for stage in self.stages), default=5)
        widths = {"stage": min(max(5, names), max(5, width // 2)), "shards": max(6, 2 * digits + 1)}
        room = width - sum(widths.values()) - 2 * GAP - LEAST_BAR
        for name, wide in (("tokens/s", RATE), ("rows", ROWS), ("dropped", DROPPED)):
            if room < wide + GAP:
                break
            widths[name] = wide
            room -= wide + GAP
        bar = max(1, min(LONGEST_BAR, LEAST_BAR + room))
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
        for name in ("stage", "bar", "shards", "rows", "tokens/s", "dropped"):
            if name in widths or name == "bar":
                left = name in ("stage", "bar")
                table.add_column(
                    "" if name == "bar" else name,
                    justify="left" if left else "right",
                    width=bar if name == "bar" else widths[name],
                    no_wrap=True,
                )
        for stage in self.stages:
            rate = stage.rate()
            cells = {
                "rows": number(stage.rows, ROWS) if stage.done or stage.rows else "",
                "tokens/s": "" if rate is None else number(round(rate), RATE),
                "dropped": number(drops, DROPPED) if (drops := stage.drops.total()) else "",
            }
            table.add_row(
                cut(stage.name, widths["stage"], ascii_only),
                bar_of(stage, bar),
                f"{stage.done}/{stage.shards}",
                *(cell for name, cell in cells.items() if name in widths),
            )
        return table


def bar_of(stage: StageNumbers, width: int) -> Bar:
    """What is done of a stage, shards in flight included."""
    finished = stage.done >= stage.shards
    colour = "green" if finished else "cyan" if stage.at_work else ""
    return Bar(stage.share, width, finished, colour)


def number(value: int, width: int) -> str:
    """`1,234,567`, or `12.3M` where that is too wide."""
    said = f"{value:,}"
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)):
        if len(said) <= width:
            break
        said = f"{value / size:,.1f}{unit}"
    return said


def time_said(passed: float, left: Left, width: int = 80) -> str:
    """`4 min so far, about 6 min left`; `at least`: a stage of which nothing is known is left."""
    said = f"{_span(passed)} so far"
    if left.seconds is None or (not left.seconds and not left.untimed):
        return said
    if not left.untimed:
        return f"{said}, about {_span(max(1.0, left.seconds))} left"
    said = f"{said}, at least {_span(left.seconds)} left"
    if width < 80:
        return said
    more = len(left.untimed) - 1
    return f"{said} ({left.untimed[0]}{f' and {more} more' if more else ''} not timed yet)"


def drops_said(drops: Counter[str], width: int) -> str:
    """The reasons that most items were dropped for, each whole, as many as there is room for."""
    if not drops:
        return ""
    told = [f"{reason} {n:,}" for reason, n in drops.most_common()]
    for shown in range(len(told), 0, -1):
        rest = len(told) - shown
        said = f"dropped: {', '.join(told[:shown])}{f' and {rest} more reasons' if rest else ''}"
        if len(said) <= width:
            return said
    return f"dropped: {drops.total():,}, {len(told)} reasons"


def _span(seconds: float) -> str:
    return duration(seconds) if seconds >= 1 else "0 s"


def cut(text: str, width: int, ascii_only: bool = False) -> str:
    """A text on one line of at most `width` cells; what is cut ends in an ellipsis."""
    text = " ".join(text.split())
    if ascii_only:
        text = text.replace("·", "|").encode("ascii", "replace").decode()
    if cell_len(text) <= width:
        return text
    end = "..." if ascii_only else "…"
    return set_cell_size(text, max(0, width - len(end))).rstrip() + end
