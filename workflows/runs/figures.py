"""The figures of a run and of a training, as a tracker of experiments gets them.

Invariant: a figure of a run is a sum over its commits, each counted once, also of a run that goes
on. The driver only adds numbers here; whoever reports takes them from another thread.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Protocol, TypeVar

from actors.training.events import Event
from storage.runs.commits import Receipt

Figures = dict[str, float]


Told = TypeVar("Told", contravariant=True)


class Source(Protocol[Told]):
    """Where a tracker's figures come from."""

    def add(self, told: Told, earlier: bool = False) -> None:
        """Note a commit or an event; `earlier`: it was there before the work began."""
        ...

    def take(self) -> Sequence[tuple[Figures, int]]:
        """(figures, step) since the last call, in order."""
        ...


class RunFigures:
    """Sums over the commits of one run; the step is the number of commits."""

    def __init__(self, before: int) -> None:
        """`before`: commits that were there; there are no sums until all of them are told."""
        self._untold = before
        self._sums: Counter[str] = Counter()
        self._commits = self._taken = 0
        self._lock = threading.Lock()

    def add(self, told: Receipt, earlier: bool = False) -> None:
        """Count a commit."""
        with self._lock:
            self._untold -= earlier
            self._commits += 1
            self._sums[f"{told.stage}/shards"] += 1
            self._sums[f"{told.stage}/rows"] += told.rows
            self._sums[f"{told.stage}/seconds"] += round(told.seconds)
            for reason, count in told.drops.items():
                self._sums[f"{told.stage}/drops/{reason}"] += count
            if (tokens := told.counts.get("tokens")) is not None:
                self._sums[f"{told.stage}/tokens"] += tokens
                self._sums["tokens"] += tokens

    def take(self) -> list[tuple[Figures, int]]:
        """The sums of now, if there is a commit that they did not have the last time."""
        with self._lock:
            if self._untold or self._commits == self._taken:
                return []
            self._taken = self._commits
            return [({name: float(n) for name, n in self._sums.items()}, self._taken)]


class TrainingFigures:
    """Losses, rate and speed of one training; the step is the update."""

    def __init__(self) -> None:
        self._points: list[tuple[Figures, int]] = []
        self._lock = threading.Lock()

    def add(self, told: Event, earlier: bool = False) -> None:
        """Note the numbers of an event of those kinds that have some."""
        match told.kind:
            case "update":
                values = dict(told.values)
                if seconds := values.pop("seconds", 0):
                    values["tokens_per_second"] = values.pop("tokens", 0) / seconds
                figures = {f"train/{name}": float(value) for name, value in values.items()}
            case "held_out":
                figures = {
                    f"held_out/{name.removeprefix('eval_')}": float(value)
                    for name, value in told.values.items()
                }
            case _:
                return
        with self._lock:
            self._points.append((figures, told.step))

    def take(self) -> list[tuple[Figures, int]]:
        """The points since the last call."""
        with self._lock:
            points, self._points = self._points, []
        return points
