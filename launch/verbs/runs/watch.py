"""`status --watch`: shows the status of a run again and again, with the time left.

It runs on any machine that reaches the store, during the build or after it, without Ray.

Invariant: every commit is read once, however long it watches. It shows what `status` would show at
that moment.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import typer
from rich.console import Console
from rich.live import Live

from launch.shown.log_pace import LogPace
from launch.verbs.runs.status import status_tables
from storage.runs.commits import Receipt, receipt_of
from storage.runs.run import Run
from workflows.runs.status import RunStatus, StageStatus, stage_status, status_of

EVERY_SECONDS = 5.0


@dataclass
class RunWatch:
    """Reads the status of a run again and again, and measures its rate."""

    run: Run
    clock: Callable[[], float] = time.monotonic
    _receipts: dict[str, dict[int, Receipt]] = field(default_factory=dict)
    _first: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Stage -> when it was first read, and its committed shards then."""

    def look(self) -> RunStatus:
        """Read the new commits, and return the status."""
        return status_of(self.run, [self._stage(name) for name in self.run.spec.stages])

    def _stage(self, name: str) -> StageStatus:
        known = self._receipts.get(name)
        if known is None:
            known = self._receipts[name] = self.run.receipts(name)
        else:
            for shard in self.run.shards_of(name) - known.keys():
                known[shard] = receipt_of(self.run.commit(name, shard))
        self._first.setdefault(name, (self.clock(), len(known)))
        return stage_status(self.run, name, known)

    def left_s(self, stage: StageStatus) -> float | None:
        """Seconds that a stage will take at the rate since watching began; None: not known."""
        since, before = self._first[stage.stage]
        done, passed = stage.shards_done - before, self.clock() - since
        if stage.shards_done == stage.shards:
            return 0.0
        return (stage.shards - stage.shards_done) * passed / done if done and passed else None


def watch_run(
    run: Run,
    as_json: bool,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Show the run until it is finished; Ctrl-C ends only the watching.

    A log gets a table when the status changed, at longer and longer intervals.
    """
    watch = RunWatch(run)
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
                    typer.echo(json.dumps(asdict(seen), ensure_ascii=False))
            elif console.is_terminal:
                screen.update(status_tables(seen, watch.left_s), refresh=True)
            elif pace.is_due(seen, last=seen.finished):
                console.print(status_tables(seen, watch.left_s))
            before = seen
