"""What a run reports while it works; the command line shows it.

Invariant: a run never waits for a listener, and no module below the command line prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from actors.training.events import Event
from actors.workers.worker import ShardProgress
from storage.runs.commits import Receipt
from workflows.schedule.events import Happened

ENDING = "ending: what is at work is closed, what is committed stays"
"""What a command says that was told to stop."""


class Watching:
    """Receives the events of one run. This class shows nothing; a subclass shows them."""

    def say(self, message: str) -> None:
        """Show a line about what is going on, until the next one."""

    def note(self, message: str) -> None:
        """Show a line that stays."""

    def ending(self) -> None:
        """Show at once that the work was told to stop."""

    def earlier(self, receipt: Receipt) -> None:
        """Receive a commit that was there before the work began, from any thread."""

    def happened(self, event: Happened) -> None:
        """Receive one thing that the driver did or saw."""

    def meters(self, parts: Sequence[ShardProgress]) -> None:
        """Receive how far the shards in flight are."""


class Listener:
    """Receives what a command does. This class shows nothing; a subclass shows it."""

    @property
    def head_lost(self) -> Callable[[str], None] | None:
        """Called from a thread, with the reason, when the cluster's head is gone.

        None: the head is not watched.
        """
        return None

    def say(self, line: str) -> None:
        """Show a line."""

    def working(
        self, run: str, stages: Sequence[str], shards: int, before: Mapping[str, int]
    ) -> AbstractContextManager[Watching]:
        """Surround the work on a run; `before`: committed shards of each stage at its start."""
        return nullcontext(Watching())

    @contextmanager
    def taking_over(
        self, run: str, source: str, shards: int
    ) -> Iterator[Callable[[int, int], None]]:
        """Surround the copying of shards; yields a function of (shards done, shards in all)."""
        yield lambda done, total: None

    @contextmanager
    def tokens(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Surround the making of a training's tokens; yields a function of (shards that are stored,
        shards in all), which is not called where all are there.
        """
        yield lambda stored, of: None

    @contextmanager
    def training(self, name: str) -> Iterator[Callable[[Event], None]]:
        """Surround a training; yields a function that receives every event."""
        yield lambda event: None


SILENT = Listener()
