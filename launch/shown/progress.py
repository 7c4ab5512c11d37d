"""Live progress of a build: one bar per stage, what is at work, and one estimate for the whole.

On a terminal the display is redrawn. A log (or `ray job submit`) gets a line when something
changed, at longer and longer intervals (`launch.shown.log_pace`). The build never waits for it.

Invariant: all numbers come from commits (exact) and meters (shards in flight).
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live

from actors.workers.worker import ShardProgress
from launch.shown.build_table import BuildView, time_said
from launch.shown.log_pace import LogPace, print_line
from launch.shown.stage_numbers import Left, StageNumbers, left_of
from launch.verbs.runs.status import duration
from storage.runs.commits import Receipt
from workflows.runs.listening import ENDING, Watching
from workflows.schedule.events import Happened

STARTING_EVERY_S = 60
"""A log says of an engine that still starts for how long it has, so often."""


class BuildProgress(Watching):
    """Shows a build. Use as a context manager; give it to the driver as its watch. Thread-safe."""

    def __init__(
        self,
        run: str,
        stages: Sequence[str],
        shards: int,
        before: Mapping[str, int],
        clock: Callable[[], float] = time.monotonic,
        console: Console | None = None,
    ) -> None:
        """`before`: committed shards of each stage at the start."""
        self._clock = clock
        self._run = run
        self._stages = {name: StageNumbers(name, shards, before.get(name, 0)) for name in stages}
        self._opened = clock()
        self._began: float | None = None
        """When the first shard was started."""
        self._workers: Counter[str] = Counter()
        """Workers of each role that are up."""
        self._starting: dict[str, float] = {}
        """Role -> when its first worker began to start, until one is up."""
        self._console = console or Console(stderr=True)
        self._live: Live | None = None
        self._lock = threading.RLock()
        """Held while numbers change: the display is drawn in a thread of its own."""
        self._message = ""
        self._ending = False
        self._pace = LogPace(clock)

    def __enter__(self) -> BuildProgress:
        """Start showing."""
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self.view)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show the last state and stop."""
        if self._live is None:
            self._log(last=True)
        else:
            self._live.stop()
            self._live = None

    def view(self) -> BuildView:
        """What is shown now."""
        with self._lock:
            now = self._clock()
            stages = [stage.seen() for stage in self._stages.values()]
            passed, left = now - self._opened, self._left(now)
            return BuildView(self._run, stages, passed, left, self._staff(now), self._message)

    def happened(self, event: Happened) -> None:
        """Count one event of the driver."""
        with self._lock:
            self._count(event, self._clock())
        self._log()

    def _count(self, event: Happened, now: float) -> None:
        role, task = event.role, event.task
        match event.what:
            case "opening":
                if role not in self._workers:
                    self._workers[role] = 0
                    self._starting[role] = now
                    self._log_line(f"starting {role}")
            case "opened":
                self._workers[role] += 1
                if self._starting.pop(role, None) is not None:
                    self._log_line(f"{role} is up")
            case "closed":
                self._workers[role] = max(0, self._workers[role] - 1)
            case "lost":  # what is left of it is closed next
                self.say(f"{role}: a worker was lost: {event.cause}")
            case "failed" if task is not None:
                self._stages[task.stage].ended(task.shard, now)
                self.say(f"{task.stage} {task.shard}: will be tried again: {event.cause}")
            case "limited":
                self.note(event.cause)
            case "resized":
                self.say(f"engine slots: {event.cause}")
            case "started" if task is not None:
                self._began = now if self._began is None else self._began
                self._stages[task.stage].started(task.shard, now)
            case "committed" if event.receipt is not None:
                self._stages[event.receipt.stage].committed(event.receipt, now)
            case _:
                pass

    def meters(self, parts: Sequence[ShardProgress]) -> None:
        """Note how far the shards in flight are."""
        by_stage: defaultdict[str, list[ShardProgress]] = defaultdict(list)
        for part in parts:
            by_stage[part.stage].append(part)
        with self._lock:
            now = self._clock()
            for name, stage in self._stages.items():
                stage.meters(by_stage[name], now)
        self._log()

    def earlier(self, receipt: Receipt) -> None:
        """Count a commit of before this process."""
        with self._lock:
            self._stages[receipt.stage].earlier(receipt)

    def say(self, message: str) -> None:
        """Show one line until the next."""
        if self._ending:
            return
        self._message = message
        self._log_line(message)

    def note(self, message: str) -> None:
        """Show one line that stays."""
        self._print(message)

    def ending(self) -> None:
        """Say at once that the build ends; what is said afterwards is not shown."""
        if not self._ending:
            self.say(ENDING)
            self._ending = True

    def _log_line(self, message: str) -> None:
        """Print what a terminal's display shows of itself."""
        if self._live is None and not self._ending:
            self._print(message)

    def _print(self, message: str) -> None:
        print_line(self._console, self._run, message)

    def _left(self, now: float) -> Left:
        passed = 0.0 if self._began is None else now - self._began
        return left_of(list(self._stages.values()), passed)

    def _staff(self, now: float) -> str:
        """`starting completer 42 s · workers: policy 2`."""
        parts = [
            f"starting {role} {duration(now - since) or '0 s'}"
            for role, since in self._starting.items()
        ]
        if up := [f"{role} {n}" for role, n in self._workers.items() if n]:
            parts.append(f"workers: {', '.join(up)}")
        return " · ".join(parts)

    def _log(self, last: bool = False) -> None:
        """Print a line where the display is a log and one is due."""
        if self._live is not None:
            return
        with self._lock:
            now = self._clock()
            shown = [stage for stage in self._stages.values() if stage.begun or last]
            waits = [int((now - at) // STARTING_EVERY_S) for at in self._starting.values()]
            # Rates and times are never twice the same: what was made is what changes.
            state = (
                [(stage.name, stage.done, int(100 * stage.share)) for stage in shown],
                list(self._workers.items()), waits,
            )  # fmt: skip
            if (shown or any(waits)) and self._pace.is_due(state, last):
                said = time_said(now - self._opened, self._left(now))
                parts = [
                    f"{stage.name} {stage.done}/{stage.shards}{_pace(stage)}" for stage in shown
                ]
                self._print(" · ".join(part for part in (said, *parts, self._staff(now)) if part))


def _pace(stage: StageNumbers) -> str:
    """` (1,200 tokens/s)` of a stage at work, where it is known."""
    rate = stage.rate() if stage.at_work else None
    return "" if rate is None else f" ({rate:,.0f} tokens/s)"
