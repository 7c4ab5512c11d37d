"""What a command says while it works, on standard error: lines, bars, and how a lost head ends it.

Invariant: standard output is for results; what libraries print there goes to standard error.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from actors.training.events import Event
from launch.exits import head_lost
from launch.shown.progress import BuildProgress
from launch.shown.training_progress import TrainingProgress
from workflows.runs.listening import Listener


class Terminal(Listener):
    """Shows everything."""

    @property
    def head_lost(self) -> Callable[[str], None]:
        """It ends the process."""
        return head_lost

    def say(self, line: str) -> None:
        """One line, however long."""
        Console(stderr=True, soft_wrap=True).print(line, highlight=False, markup=False)

    def working(
        self, run: str, stages: Sequence[str], shards: int, before: Mapping[str, int]
    ) -> BuildProgress:
        """A bar per stage."""
        return BuildProgress(run, stages, shards, before)

    @contextlib.contextmanager
    def taking_over(
        self, run: str, source: str, shards: int
    ) -> Iterator[Callable[[int, int], None]]:
        """One bar."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(f"{run} from {source}", total=shards)
            yield lambda done, total: bar.update(task, completed=done)

    @contextlib.contextmanager
    def training(self, name: str) -> Iterator[Callable[[Event], None]]:
        """One line with loss and rate."""
        with TrainingProgress(name) as progress, contextlib.redirect_stdout(sys.stderr):
            yield progress.happened


TERMINAL = Terminal()
