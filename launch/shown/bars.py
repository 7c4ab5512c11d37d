"""Bars whose full part differs from their empty one without colours, in ASCII too.

Invariant: a bar is full only where all is done.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

WIDTH = 24


@dataclass(frozen=True, slots=True)
class Bar:
    """A share of something that is done."""

    share: float
    width: int = WIDTH
    finished: bool = False
    colour: str = ""

    def text(self, ascii_only: bool) -> Text:
        """The bar as text."""
        full, empty = "#-" if ascii_only else "█░"
        filled = self.width if self.finished else min(self.width - 1, int(self.width * self.share))
        return Text.assemble((full * filled, self.colour), (empty * (self.width - filled), "dim"))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the bar."""
        yield self.text(options.ascii_only)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Say its width, which is fixed."""
        return Measurement(self.width, self.width)


def passing(*columns: str | ProgressColumn, disable: bool = False) -> Progress:
    """Bars on standard error that leave nothing behind. Where no terminal shows them there are
    none: rich would leave an empty line in the log.
    """
    console = Console(stderr=True)
    disable = disable or not console.is_interactive
    return Progress(*columns, console=console, transient=True, disable=disable)


class BarColumn(ProgressColumn):
    """The bar of a task of `rich.progress`."""

    def render(self, task: Task) -> Bar:
        """The bar of a task; empty while its total is not known."""
        return Bar(task.completed / task.total if task.total else 0.0, finished=task.finished)
