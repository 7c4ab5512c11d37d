"""What a run says while it works, for whoever shows it.

Invariant: nothing waits for a listener, and nothing below the command line prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from actors.training.events import Event
from actors.workers.worker import ShardProgress
from workflows.schedule.driver import Happened


class Watching:
    """Follows the work on one run. This one shows nothing."""

    def say(self, message: str) -> None:
        """One line about what is going on."""

    def note(self, message: str) -> None:
        """One line that stays."""

    def happened(self, event: Happened) -> None:
        """One thing that the driver did or saw."""

    def meters(self, parts: Sequence[ShardProgress]) -> None:
        """How far the shards in flight have come."""


class Listener:
    """Is told what a command does. This one shows nothing."""

    @property
    def head_lost(self) -> Callable[[str], None] | None:
        """Called from a thread when the cluster's head is gone, with the reason; None: it is not
        watched.
        """
        return None

    def say(self, line: str) -> None:
        """One line for people."""

    def working(
        self, run: str, stages: Sequence[str], shards: int, before: Mapping[str, int]
    ) -> AbstractContextManager[Watching]:
        """Around the work on a run; `before`: shards of each stage that are committed already."""
        return nullcontext(Watching())

    @contextmanager
    def taking_over(
        self, run: str, source: str, shards: int
    ) -> Iterator[Callable[[int, int], None]]:
        """Around the taking over of shards; yields what is told (shards done, shards in all)."""
        yield lambda done, total: None

    @contextmanager
    def training(self, name: str) -> Iterator[Callable[[Event], None]]:
        """Around a training; yields what is told of every event."""
        yield lambda event: None


SILENT = Listener()
