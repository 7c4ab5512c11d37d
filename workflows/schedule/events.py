"""What the driver's loop hears of its workers, and what it tells its `watch` callback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from storage.runs.commits import Receipt
from workflows.schedule.schedule import Task


class Hungry(NamedTuple):
    """A worker tells the driver that no request waits for its engine: it can take more shards."""

    worker: int


@dataclass(frozen=True, slots=True)
class Happened:
    """An event that the loop reports to its `watch` callback."""

    what: str
    """`limited`, `opening`, `opened`, `closed`, `started`, `committed`, `failed`, `lost`,
    `resized`."""
    role: str = ""
    task: Task | None = None
    receipt: Receipt | None = None
    cause: str = ""


Watch = Callable[[Happened], None]


def spell(seconds: float) -> str:
    """A time in words: `30 minutes`, `45 seconds`."""
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
