"""Live progress of the making of a training's tokens: a bar with the time left; lines in a log.

Invariant: nothing is shown where all tokens are there already.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from launch.shown.bars import BarColumn
from launch.shown.log_pace import LogPace, print_line
from launch.verbs.runs.status import duration


class TokensProgress:
    """Shows how many shards of tokens are stored. A context manager."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._clock = name, clock
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("shards · {task.fields[said]}"),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(f"tokens for {name}", total=None, said="")
        self._pace = LogPace(clock)
        self._before: int | None = None
        """Shards that were stored when the work began."""
        self._began = 0.0

    def __enter__(self) -> TokensProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def stored(self, shards: int, of: int) -> None:
        """Take note of the number of shards that are stored."""
        if self._before is None:
            self._before, self._began = shards, self._clock()
            self._bar.start()
            self._line(f"making tokens: {shards:,} of {of:,} shards are there")
            return
        made = max(0, shards - self._before)
        left = (self._clock() - self._began) / made * (of - shards) if made else 0.0
        said = f"{duration(left)} left" if left else ""
        self._bar.update(self._task, total=of, completed=shards, said=said)
        text = f"{shards:,} of {of:,} shards of tokens" + (f" · {said}" if said else "")
        if not self._console.is_terminal and self._pace.is_due(shards, last=shards == of):
            self._line(text)

    def _line(self, text: str) -> None:
        print_line(self._console, self._name, text)
