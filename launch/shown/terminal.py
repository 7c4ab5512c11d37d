"""Shows on standard error what a command does: lines, progress bars, and the loss of Ray's head.

Invariant: standard output is for results. What libraries print there goes to standard error.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.console import Console
from rich.progress import MofNCompleteColumn, TextColumn

from actors.training.events import Event
from launch.exits import head_lost
from launch.shown.bars import BarColumn, passing
from launch.shown.progress import BuildProgress
from launch.shown.tokens_progress import TokensProgress
from launch.shown.training_progress import TrainingProgress
from storage.plain_text import printable
from workflows.runs.listening import Listener


class Terminal(Listener):
    """Shows on standard error everything that a listener receives."""

    @property
    def head_lost(self) -> Callable[[str], None]:
        """The function that ends the process."""
        return head_lost

    def say(self, line: str) -> None:
        """Print a line without wrapping it."""
        Console(stderr=True, soft_wrap=True).print(printable(line), highlight=False, markup=False)

    def working(
        self, run: str, stages: Sequence[str], shards: int, before: Mapping[str, int]
    ) -> BuildProgress:
        """Show a bar for each stage."""
        return BuildProgress(run, stages, shards, before)

    @contextlib.contextmanager
    def taking_over(
        self, run: str, source: str, shards: int
    ) -> Iterator[Callable[[int, int], None]]:
        """Show one bar."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with passing(*columns) as bar:
            task = bar.add_task(f"{run} from {source}", total=shards)
            yield lambda done, total: bar.update(task, completed=done)

    @contextlib.contextmanager
    def tokens(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Show one bar with the time that is left."""
        with TokensProgress(name) as progress, contextlib.redirect_stdout(sys.stderr):
            yield progress.stored

    @contextlib.contextmanager
    def training(self, name: str) -> Iterator[Callable[[Event], None]]:
        """Show one line with loss and rate."""
        with TrainingProgress(name) as progress, contextlib.redirect_stdout(sys.stderr):
            yield progress.happened


TERMINAL = Terminal()
