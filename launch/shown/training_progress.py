"""Live progress of a training: one line with loss, rate and time left; plain lines elsewhere.

Invariant: what it shows comes from events alone, and it holds a few numbers whatever the length of
the training; in a log updates get a line at longer and longer intervals (`launch.shown.log_pace`),
the last one always.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from actors.training.events import Event
from launch.shown.bars import BarColumn
from launch.shown.log_pace import LogPace, print_line
from launch.verbs.runs.status import duration
from workflows.training.record import lost_steps

RECENT = 20
"""Updates that speed and time left are taken from."""


class TrainingProgress:
    """Shows a training. Use as a context manager; give `happened` to the trainer."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(f"train {name}", total=None, said="starting workers")
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)
        """(tokens, seconds) of the last updates."""
        self._held_out = ""
        self._prepared = False
        self._pace = LogPace(clock)
        self._latest = ""
        """The last update, as a log says it."""

    def __enter__(self) -> TrainingProgress:
        """Start showing."""
        self._bar.start()
        self._line("starting workers")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show the last update and stop."""
        self._show_update(last=True)
        self._bar.stop()

    def happened(self, event: Event) -> None:
        """Take note of one thing that happened."""
        values = event.values
        match event.kind:
            case "prepared":
                if self._prepared:
                    self._line("a worker was lost: all of them were started again")
                self._prepared = True
                self._recent.clear()
                self._bar.update(self._task, total=event.steps, completed=event.step)
                dropped = sum(n for name, n in values.items() if name.startswith("dropped_"))
                self._line(
                    f"{values['parameters']:,} parameters; {values['train']:,} conversations of "
                    f"{values['median']:,} tokens (median; longest {values['longest']:,}), "
                    f"{values['held_out']:,} held out, {lost_steps(values)}, "
                    f"{dropped:,} dropped; {event.steps:,} updates"
                    + _gib("; {} of a GPU expected", values.get("expected_bytes"))
                )
            case "finished":
                peak = _gib("peak memory of a GPU {}", values.get("peak_bytes"))
                if peak:
                    self._line(peak + _gib(", {} expected", values.get("expected_bytes")))
            case "continued":
                self._line(f"continues after update {event.step}")
            case "skipped":
                self._line(f"checkpoint {event.step} can't be used: {values['why']}")
            case "update":
                self._recent.append((values["tokens"], values["seconds"]))
                self._update(event)
            case "held_out":
                self._held_out = (
                    f"held out {values['eval_loss']:.4f}, steps right "
                    f"{values['eval_step_accuracy']:.3f}"
                )
                self._line(f"update {event.step}: {self._held_out}")
            case "fetching" | "storing":
                self._line(f"{event.kind} what update {event.step} left: {_moved(values)}")
            case "fetched":
                self._line(f"fetched checkpoint {event.step}: {_moved(values)}")
            case "checkpoint":
                self._line(f"checkpoint after update {event.step}: {_moved(values)}")
            case _:
                pass

    def _update(self, event: Event) -> None:
        tokens = sum(part[0] for part in self._recent)
        seconds = max(1e-9, sum(part[1] for part in self._recent))
        left = duration(seconds / len(self._recent) * (event.steps - event.step))
        said = " · ".join(
            part
            for part in (
                f"loss {event.values['loss']:.4f}",
                f"rate {event.values['rate']:.1e}",
                f"{tokens / seconds:,.0f} tokens/s",
                f"{left} left" if left else "",
                self._held_out,
            )
            if part
        )
        self._bar.update(self._task, total=event.steps, completed=event.step, said=said)
        self._latest = f"update {event.step}/{event.steps} · {said}"
        self._show_update(last=event.step == event.steps)

    def _show_update(self, last: bool) -> None:
        """A terminal has the bar."""
        logged = self._latest and not self._console.is_terminal
        if logged and self._pace.is_due(self._latest, last):
            self._line(self._latest)

    def _line(self, text: str) -> None:
        print_line(self._console, self._name, text)


def _gib(text: str, size: int | None) -> str:
    """A text with a size in it; nothing where there is none."""
    return text.format(f"{size / (1 << 30):.1f} GiB") if size else ""


def _moved(values: Mapping[str, Any]) -> str:
    """Bytes, and how fast they went where their seconds are known."""
    said = f"{values['bytes'] / 1e6:,.1f} MB"
    if seconds := values.get("seconds"):
        said += f" in {seconds:,.1f} s ({values['bytes'] / 1e6 / seconds:,.1f} MB/s)"
    return said
