"""The figures of a run and of a training, as a tracker of experiments gets them.

Invariant: a figure of a run is a sum over its commits, each counted once, also of a run that goes
on. The driver only adds numbers here; whoever reports takes them from another thread.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from actors.training.events import Event
from storage.runs.commits import Receipt

Figures = dict[str, float]


Told = TypeVar("Told", contravariant=True)


class Source(Protocol[Told]):
    """Where a tracker's figures come from."""

    def add(self, told: Told) -> None:
        """Note a commit or an event."""
        ...

    def start(self) -> None:
        """Read what was there before; may take a while."""
        ...

    def take(self) -> Sequence[tuple[Figures, int]]:
        """(figures, step) since the last call, in order."""
        ...


class RunFigures:
    """Sums over the commits of one run; the step is the number of commits."""

    def __init__(
        self, stages: Sequence[str], receipts_of: Callable[[str], Mapping[int, Receipt]]
    ) -> None:
        """`receipts_of`: stage -> shard -> receipt, of what is committed."""
        self._stages, self._receipts_of = stages, receipts_of
        self._counted: set[tuple[str, int]] = set()
        self._sums: Counter[str] = Counter()
        self._taken = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        """Count what is committed already. Raises the store's errors."""
        for stage in self._stages:
            for receipt in self._receipts_of(stage).values():
                self.add(receipt)

    def add(self, told: Receipt) -> None:
        """Count a commit, unless it is counted."""
        receipt, stage = told, told.stage
        with self._lock:
            if (stage, receipt.shard) in self._counted:
                return
            self._counted.add((stage, receipt.shard))
            self._sums[f"{stage}/shards"] += 1
            self._sums[f"{stage}/rows"] += receipt.rows
            self._sums[f"{stage}/seconds"] += round(receipt.seconds)
            for reason, count in receipt.drops.items():
                self._sums[f"{stage}/drops/{reason}"] += count
            if (tokens := receipt.counts.get("tokens")) is not None:
                self._sums[f"{stage}/tokens"] += tokens
                self._sums["tokens"] += tokens

    def take(self) -> list[tuple[Figures, int]]:
        """The sums of now, if there is a commit that they did not have the last time."""
        with self._lock:
            if len(self._counted) == self._taken:
                return []
            self._taken = len(self._counted)
            return [({name: float(n) for name, n in self._sums.items()}, self._taken)]


class TrainingFigures:
    """Losses, rate and speed of one training; the step is the update."""

    def __init__(self) -> None:
        self._points: list[tuple[Figures, int]] = []
        self._lock = threading.Lock()

    def start(self) -> None:
        """A training's tracker holds what was told before."""

    def add(self, told: Event) -> None:
        """Note the numbers of an event of those kinds that have some."""
        event = told
        match event.kind:
            case "update":
                values = dict(event.values)
                if seconds := values.pop("seconds", 0):
                    values["tokens_per_second"] = values.pop("tokens", 0) / seconds
                figures = {f"train/{name}": float(value) for name, value in values.items()}
            case "held_out":
                figures = {
                    f"held_out/{name.removeprefix('eval_')}": float(value)
                    for name, value in event.values.items()
                }
            case _:
                return
        with self._lock:
            self._points.append((figures, event.step))

    def take(self) -> list[tuple[Figures, int]]:
        """The points since the last call."""
        with self._lock:
            points, self._points = self._points, []
        return points
