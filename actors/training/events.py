"""What the parts of a training say to each other and to a person.

Invariant: an event is for eyes only; nothing is decided by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the workers this process is."""

    rank: int = 0
    workers: int = 1
    local_rank: int = 0
    local_workers: int = 1
    gpu: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a person wants to see."""

    kind: str
    """`prepared`, `fetching`, `fetched`, `continued`, `skipped`, `update`, `held_out`,
    `storing`, `checkpoint`, `finished`; of the wrapper around it `refused`."""
    step: int = 0
    """Updates made."""
    steps: int = 0
    """Updates of the whole training."""
    values: Mapping[str, Any] = field(default_factory=dict)


Say = Callable[[Event], None]


def quiet(event: Event) -> None:
    """Say nothing."""
