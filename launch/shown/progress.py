"""Live progress of a build: one bar per stage, with rate and time left.

On a terminal the display is redrawn. A log (or `ray job submit`) gets a line when something
changed, at longer and longer intervals (`launch.shown.log_pace`). The build never waits for it.

Invariant: all numbers come from commits (exact) and meters (shards in flight). It keeps a few
numbers per stage for a build of any size.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from actors.workers.worker import ShardProgress
from launch.shown.log_pace import LogPace
from launch.verbs.runs.status import duration
from workflows.runs.listening import Watching
from workflows.schedule.driver import Happened


@dataclass(slots=True)
class _StageNumbers:
    done: int = 0
    before: int = 0
    """Shards that were committed before this process started."""
    rows: int = 0
    tokens: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    started: float | None = None
    under_way: float = 0.0
    """The shares of the shards in flight that are done, summed."""


class BuildProgress(Watching):
    """Shows a build. Use as a context manager; give it to the driver as its watch."""

    def __init__(
        self,
        run: str,
        stages: Sequence[str],
        shards: int,
        before: Mapping[str, int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`before`: committed shards of each stage at the start."""
        self._clock = clock
        self._run = run
        self._shards = shards
        self._stages = {
            name: _StageNumbers(done=before.get(name, 0), before=before.get(name, 0))
            for name in stages
        }
        self._workers: Counter[str] = Counter()
        """Workers of each role that are up."""
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._message = ""
        self._pace = LogPace(clock)

    def __enter__(self) -> BuildProgress:
        """Start showing."""
        if self._console.is_terminal:
            self._live = Live(self._table(), console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show the last state and stop."""
        self._show(last=True)
        if self._live is not None:
            self._live.stop()

    def happened(self, event: Happened) -> None:
        """Count one event of the driver, and show the change."""
        match event.what:
            case "opening":
                if event.role not in self._workers:
                    self._workers[event.role] = 0
                    self.say(f"starting {event.role}")
            case "opened":
                self._workers[event.role] += 1
                if self._workers[event.role] == 1:
                    self.say(f"{event.role} is up")
            case "closed":
                self._workers[event.role] = max(0, self._workers[event.role] - 1)
            case "lost":  # what is left of it is closed next
                self.say(f"{event.role}: a worker was lost: {event.cause}")
            case "failed" if event.task is not None:
                task = event.task
                self.say(f"{task.stage} {task.shard}: will be tried again: {event.cause}")
            case "limited":
                self.note(event.cause)
            case "resized":
                self.say(f"engine slots: {event.cause}")
            case "started" if event.task is not None:
                stage = self._stages[event.task.stage]
                stage.started = self._clock() if stage.started is None else stage.started
            case "committed" if event.receipt is not None:
                stage = self._stages[event.receipt.stage]
                stage.done += 1
                stage.rows += event.receipt.rows
                stage.tokens += event.receipt.counts.get("tokens", 0)
                stage.drops.update(event.receipt.drops)
            case _:
                return
        self._show()

    def meters(self, parts: Sequence[ShardProgress]) -> None:
        """Note how far the shards in flight are, and show the change."""
        for stage in self._stages.values():
            stage.under_way = 0.0
        for part in parts:
            if part.total and part.stage in self._stages:
                self._stages[part.stage].under_way += part.done / part.total
        self._show()

    def say(self, message: str) -> None:
        """Show one line until the next."""
        self._message = message
        if self._live is None:
            self._print(message)

    def note(self, message: str) -> None:
        """Show one line that stays."""
        self._print(message)

    def _print(self, message: str) -> None:
        """Print a line with the time, without wrapping it."""
        line = f"{time.strftime('%H:%M:%S')} [{self._run}] {message}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _show(self, last: bool = False) -> None:
        if self._live is not None:
            self._live.update(self._table())
            return
        shown = {
            name: stage for name, stage in self._stages.items() if stage.started is not None or last
        }
        up = [f"{role} {n}" for role, n in self._workers.items() if n > 1]
        # Rates and times left are never twice the same: what was made is what changes.
        state = ([(name, stage.done, self._percent(stage)) for name, stage in shown.items()], up)
        if shown and self._pace.is_due(state, last):
            now = self._clock()
            parts = [
                f"{name} {stage.done}/{self._shards}{_pace(stage, self._shards, now)}"
                for name, stage in shown.items()
            ]
            self._print(" · ".join([*parts, *([f"workers: {', '.join(up)}"] if up else [])]))

    def _percent(self, stage: _StageNumbers) -> int:
        return int(100 * (stage.done + stage.under_way) / max(1, self._shards))

    def _table(self) -> Table:
        table = Table(title=f"run {self._run}", title_justify="left", expand=False)
        for name in ("stage", "", "shards", "rows", "tokens/s", "left", "drops"):
            left = name in ("stage", "", "drops")
            table.add_column(name, justify="left" if left else "right", no_wrap=name == "stage")
        now = self._clock()
        for name, stage in self._stages.items():
            table.add_row(
                name,
                ProgressBar(max(1, self._shards), stage.done + stage.under_way, width=20),
                f"{stage.done}/{self._shards}",
                f"{stage.rows:,}",
                _rate(stage, now),
                _left(stage, self._shards, now),
                ", ".join(f"{reason} {n}" for reason, n in stage.drops.most_common(3)),
            )
        table.caption = self._message
        table.caption_justify = "left"
        return table


def _rate(stage: _StageNumbers, now: float) -> str:
    if stage.started is None or not stage.tokens:
        return ""
    return f"{stage.tokens / max(1e-9, now - stage.started):,.0f}"


def _left(stage: _StageNumbers, shards: int, now: float) -> str:
    """Time left for a stage, at the rate of this process so far."""
    # A shard that was committed since the meters were read is counted twice until the next reading.
    done = min(stage.done - stage.before + stage.under_way, shards - stage.before)
    if stage.started is None or done <= 0 or stage.done >= shards:
        return ""
    seconds = (now - stage.started) / done * (shards - stage.before - done)
    return f"{duration(seconds) or '0 s'} left"


def _pace(stage: _StageNumbers, shards: int, now: float) -> str:
    """` (1,200 tokens/s, 7 s left)`, or the part of it that is known."""
    rate = _rate(stage, now)
    known = [f"{rate} tokens/s"] if rate and stage.done < shards else []
    known += [left] if (left := _left(stage, shards, now)) else []
    return f" ({', '.join(known)})" if known else ""
