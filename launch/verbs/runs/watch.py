"""`status --watch`: a run as its commits tell it, again and again, with rate and time left.

It may run anywhere that reaches the store, beside the build or after it, and needs no Ray.

Invariant: every commit is read once, however long it watches; what is shown is what `status` would
say at that moment.
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
from storage.runs.run import Run, sum_receipts
from workflows.runs.status import RunStatus, StageStatus, stage_status, status_of

EVERY_SECONDS = 5.0


@dataclass
class RunWatch:
    """What is known of a run so far."""

    run: Run
    clock: Callable[[], float] = time.monotonic
    _receipts: dict[str, dict[int, Receipt]] = field(default_factory=dict)
    _first: dict[str, tuple[float, int]] = field(default_factory=dict)
    """When a stage was first looked at, and how many of its shards were done."""

    def look(self) -> RunStatus:
        """Read what is new."""
        return status_of(self.run, [self._stage(name) for name in self.run.spec.stages])

    def _stage(self, name: str) -> StageStatus:
        known = self._receipts.get(name)
        if known is None:
            known = self._receipts[name] = self.run.receipts(name)
        else:
            for shard in self.run.shards_of(name) - known.keys():
                known[shard] = receipt_of(self.run.commit(name, shard))
        totals = sum_receipts(known.values())
        self._first.setdefault(name, (self.clock(), len(known)))
        return stage_status(self.run, name, sorted(known), totals)

    def left_s(self, stage: StageStatus) -> float | None:
        """Seconds that a stage still takes at the rate seen while watching; None: not known."""
        since, before = self._first[stage.stage]
        made, passed = stage.shards_done - before, self.clock() - since
        if stage.shards_done == stage.shards:
            return 0.0
        return (stage.shards - stage.shards_done) * passed / made if made and passed else None


def watch_run(
    run: Run,
    as_json: bool,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Show the run until it is finished; Ctrl-C ends the watching only.

    In a log it is shown when it changed, at longer and longer intervals.
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
            found = watch.look()
            if as_json:
                if found != before:
                    typer.echo(json.dumps(asdict(found), ensure_ascii=False))
            elif console.is_terminal:
                screen.update(status_tables(found, watch.left_s), refresh=True)
            elif pace.is_due(found, last=found.finished):
                console.print(status_tables(found, watch.left_s))
            before = found
