"""Live progress of a build: one bar per stage, with rate and time left; plain lines elsewhere.

On a terminal a display that is redrawn; in a log (or under `ray job submit`) one line per commit
batch, at most every few seconds. It watches receipts and meters; nothing waits for it.

Invariant: what it shows is derived from commits (exact) and meters (what is under way); it holds a
few numbers per stage whatever the size of the build.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from actors.worker import ShardProgress
from launch.status import duration
from workflows.drive import Happened

LOG_EVERY_SECONDS = 5.0


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
    """Sum over shards in flight of the share that is done."""


class BuildProgress:
    """Shows a build. Use as a context manager; give it to the driver as its watch."""

    def __init__(
        self, run: str, stages: Sequence[str], shards: int, before: Mapping[str, int]
    ) -> None:
        """`before`: shards of each stage that are committed already."""
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
        self._line = ""
        self._last_line = 0.0

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
        self._show(force=True)
        if self._live is not None:
            self._live.stop()

    def happened(self, event: Happened) -> None:
        """Take note of one thing that happened."""
        match event.what:
            case "opening":
                if event.role not in self._workers:
                    self._workers[event.role] = 0
                    self._say(f"starting {event.role}")
            case "opened":
                self._workers[event.role] += 1
                if self._workers[event.role] == 1:
                    self._say(f"{event.role} is up")
            case "closed":
                self._workers[event.role] = max(0, self._workers[event.role] - 1)
            case "lost":  # what is left of it is closed next
                self._say(f"{event.role}: a worker was lost: {event.cause}")
            case "failed" if event.task is not None:
                task = event.task
                self._say(f"{task.stage} {task.shard}: will be tried again: {event.cause}")
            case "resized":
                self._say(f"engine slots: {event.cause}")
            case "started" if event.task is not None:
                stage = self._stages[event.task.stage]
                stage.started = stage.started or time.monotonic()
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
        """Take note of how far the shards in flight have come."""
        for stage in self._stages.values():
            stage.under_way = 0.0
        for part in parts:
            if part.total and part.stage in self._stages:
                self._stages[part.stage].under_way += part.done / part.total
        self._show()

    def _say(self, message: str) -> None:
        self._message = message
        if self._live is None:
            self._print(message)

    def _print(self, message: str) -> None:
        """One line of a log, however long, with the time."""
        line = f"{time.strftime('%H:%M:%S')} [{self._run}] {message}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _show(self, force: bool = False) -> None:
        if self._live is not None:
            self._live.update(self._table())
            return
        now = time.monotonic()
        if force or now - self._last_line >= LOG_EVERY_SECONDS:
            self._last_line = now
            parts = [
                f"{name} {stage.done}/{self._shards}{_pace(stage, self._shards)}"
                for name, stage in self._stages.items()
                if stage.started or force
            ]
            up = [f"{role} {n}" for role, n in self._workers.items() if n > 1]
            line = " · ".join([*parts, *([f"workers: {', '.join(up)}"] if up else [])])
            if parts and line != self._line:
                self._line = line
                self._print(line)

    def _table(self) -> Table:
        table = Table(title=f"run {self._run}", title_justify="left", expand=False)
        for name in ("stage", "", "shards", "rows", "tokens/s", "left", "drops"):
            left = name in ("stage", "", "drops")
            table.add_column(name, justify="left" if left else "right", no_wrap=name == "stage")
        for name, stage in self._stages.items():
            table.add_row(
                name,
                _bar((stage.done + stage.under_way) / max(1, self._shards)),
                f"{stage.done}/{self._shards}",
                f"{stage.rows:,}",
                _rate(stage),
                _left(stage, self._shards),
                ", ".join(f"{reason} {n}" for reason, n in stage.drops.most_common(3)),
            )
        table.caption = self._message
        table.caption_justify = "left"
        return table


def _bar(share: float, width: int = 20) -> Text:
    full = round(min(1.0, share) * width)
    return Text("━" * full, style="green") + Text("━" * (width - full), style="grey37")


def _rate(stage: _StageNumbers) -> str:
    if not stage.started or not stage.tokens:
        return ""
    return f"{stage.tokens / max(1e-9, time.monotonic() - stage.started):,.0f}"


def _left(stage: _StageNumbers, shards: int) -> str:
    """Time left for the stage, from what this process made of it so far."""
    # A shard that was committed since the meters were read is counted twice until the next reading.
    made = min(stage.done - stage.before + stage.under_way, shards - stage.before)
    if not stage.started or made <= 0 or stage.done >= shards:
        return ""
    seconds = (time.monotonic() - stage.started) / made * (shards - stage.before - made)
    return f"{duration(seconds) or '0 s'} left"


def _pace(stage: _StageNumbers, shards: int) -> str:
    """` (1,200 tokens/s, 7 s left)`, as far as it is known."""
    rate = _rate(stage)
    known = [f"{rate} tokens/s"] if rate and stage.done < shards else []
    known += [left] if (left := _left(stage, shards)) else []
    return f" ({', '.join(known)})" if known else ""
