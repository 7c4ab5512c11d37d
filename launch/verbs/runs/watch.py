"""`status --watch`: shows the status of a run again and again, with the time left.

It runs on any machine that reaches the store, during the build or after it, without Ray.

Invariant: every commit is read once, however long it watches. It shows what `status` would show at
that moment.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from rich.console import Console, Group
from rich.live import Live

from launch.shown.build_table import time_said
from launch.shown.log_pace import LogPace
from launch.shown.stage_numbers import StageNumbers, left_of
from launch.shown.text import json_line, say
from launch.verbs.runs.status import status_tables
from storage.runs.run import Run
from storage.runs.totals import Sums
from storage.summaries.shards import ShardSet
from workflows.runs.status import RunStatus, StageStatus, stage_status, status_of

EVERY_SECONDS = 5.0


@dataclass
class RunWatch:
    """Reads the status of a run again and again, and measures its pace."""

    run: Run
    clock: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[ShardSet, Sums]] = field(default_factory=dict)
    """Stage -> the commits that were read, and their sums."""
    _numbers: dict[str, StageNumbers] = field(default_factory=dict)
    _since: float | None = None
    """When watching began."""

    def look(self) -> RunStatus:
        """Read the new commits, and return the status."""
        self._since = self.clock() if self._since is None else self._since
        finished = self.run.success() is not None  # first: what is committed then is all
        stages = [self._stage(name) for name in self.run.spec.stages]
        return status_of(self.run, stages, finished)

    def _stage(self, name: str) -> StageStatus:
        first = name not in self._known
        shards, sums = self._known.setdefault(name, (ShardSet(), Sums()))
        new = self.run.shards_of(name) - shards
        if first:
            self._numbers[name] = StageNumbers(name, self.run.spec.plan.shards, before=len(new))
        for receipt in self.run.receipts(name, new):
            shards.add(receipt.shard)
            sums.add(receipt)
            if first:
                self._numbers[name].earlier(receipt)
            else:
                self._numbers[name].committed(receipt, self.clock())
        return stage_status(self.run, name, sums.totals, shards.ranges())

    def said(self) -> str:
        """How long it was watched, and how long it will take at the rate since watching began."""
        passed = 0.0 if self._since is None else self.clock() - self._since
        return f"watched: {time_said(passed, left_of(list(self._numbers.values()), passed))}"


def watch_run(
    run: Run,
    as_json: bool,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Show the run until it is finished; Ctrl-C ends only the watching.

    A log gets a table when the status changed, at longer and longer intervals.
    """
    watch = RunWatch(run, clock)
    pace = LogPace(clock)
    console = Console()
    before: RunStatus | None = None
    screen = Live(console=console, auto_refresh=False)
    with screen if console.is_terminal and not as_json else contextlib.nullcontext():
        while before is None or not before.finished:
            if before is not None:
                pause(EVERY_SECONDS)
            seen = watch.look()
            if as_json:
                if seen != before:
                    say(json_line(asdict(seen)))
            elif console.is_terminal:
                screen.update(_view(watch, seen), refresh=True)
            elif pace.is_due(seen, last=seen.finished):
                console.print(_view(watch, seen))
            before = seen


def _view(watch: RunWatch, seen: RunStatus) -> Group:
    return Group(watch.said(), status_tables(seen))
