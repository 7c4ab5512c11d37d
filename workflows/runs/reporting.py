"""`report_to`: the figures of runs and trainings, told to trackers beside whoever listens.

Each tracker has a thread of its own, since it may speak with a server: the work waits for none of
them, but for `LAST_S` seconds at its end.

Invariant: a tracker that fails, or never answers, costs one line and its figures, never the work.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import Field, asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

from actors.reporters import Reporter, Tracker, check_installed, open_reporter
from actors.training.events import Event
from actors.workers.worker import ShardProgress
from storage.errors import first_line
from storage.runs.commits import Receipt
from workflows.runs.figures import RunFigures, Source, TrainingFigures
from workflows.runs.listening import Listener, Watching
from workflows.schedule.events import Happened

LAST_S = 30.0
"""Seconds that a tracker has at the end to send what is left."""


@dataclass(frozen=True)
class Reporting(Listener):
    """Tells another listener everything, and trackers the figures."""

    listener: Listener
    trackers: tuple[Tracker, ...]
    store: str
    settings: Mapping[str, Any]

    @property
    def head_lost(self) -> Callable[[str], None] | None:
        """The other's."""
        return self.listener.head_lost

    def say(self, line: str) -> None:
        """Pass it on."""
        self.listener.say(line)

    @contextmanager
    def working(
        self, run: str, stages: Sequence[str], shards: int, before: Mapping[str, int]
    ) -> Iterator[Watching]:
        """Watch for both."""
        figures = partial(RunFigures, sum(before.get(stage, 0) for stage in stages))
        with (
            self.listener.working(run, stages, shards, before) as watching,
            self._desks(run, figures, watching.note) as tell,
        ):
            yield _Watching(watching, tell)

    @contextmanager
    def taking_over(
        self, run: str, source: str, shards: int
    ) -> Iterator[Callable[[int, int], None]]:
        """The other's."""
        with self.listener.taking_over(run, source, shards) as show:
            yield show

    @contextmanager
    def tokens(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """The other's."""
        with self.listener.tokens(name) as tell:
            yield tell

    @contextmanager
    def training(self, name: str) -> Iterator[Callable[[Event], None]]:
        """Receive for both."""
        with (
            self.listener.training(name) as happened,
            self._desks(name, TrainingFigures, self.listener.say) as tell,
        ):

            def both(event: Event) -> None:
                happened(event)
                tell(event)

            yield both

    @contextmanager
    def _desks(
        self, name: str, figures: Callable[[], Source[Any]], say: Callable[[str], None]
    ) -> Iterator[Callable[..., None]]:
        """Yield what tells every tracker of a commit or an event; each has figures of its own."""
        place = hashlib.sha256(f"{self.store}/{name}".encode()).hexdigest()[:8]
        with ExitStack() as open_desks:
            desks = []
            for tracker in self.trackers:
                opening = partial(open_reporter, tracker, f"{name}-{place}", name, self.settings)
                desks.append(_Desk(tracker, opening, figures(), say))
                open_desks.callback(desks[-1].end)
                desks[-1].start()

            def tell(what: Any, earlier: bool = False) -> None:
                for desk in desks:
                    desk.tell(what, earlier)

            yield tell


class _Watching(Watching):
    def __init__(self, inner: Watching, tell: Callable[..., None]) -> None:
        self._inner, self._tell = inner, tell

    def say(self, message: str) -> None:
        self._inner.say(message)

    def note(self, message: str) -> None:
        self._inner.note(message)

    def happened(self, event: Happened) -> None:
        self._inner.happened(event)
        if event.what == "committed" and event.receipt is not None:
            self._tell(event.receipt)

    def ending(self) -> None:
        self._inner.ending()

    def earlier(self, receipt: Receipt) -> None:
        self._inner.earlier(receipt)
        self._tell(receipt, earlier=True)

    def meters(self, parts: Sequence[ShardProgress]) -> None:
        self._inner.meters(parts)


class _Desk(threading.Thread):
    """Tells one tracker, in a thread."""

    def __init__(
        self,
        tracker: Tracker,
        opening: Callable[[], Reporter],
        figures: Source[Any],
        say: Callable[[str], None],
    ) -> None:
        super().__init__(name=f"report to {tracker}", daemon=True)
        self._tracker, self._opening = tracker, opening
        self._figures, self._say = figures, say
        self._ended, self._new = threading.Event(), threading.Event()

    def tell(self, what: Any, earlier: bool) -> None:
        """Note a commit or an event."""
        self._figures.add(what, earlier)
        self._new.set()

    def run(self) -> None:
        """Open the record, send figures as they come, close it."""
        try:
            reporter = self._opening()
            while True:
                last = self._ended.is_set()
                self._new.clear()
                for figures, step in self._figures.take():
                    reporter.log(figures, step)
                if last:
                    break
                self._new.wait()
            reporter.close()
        except Exception as error:  # noqa: BLE001 - whatever a tracker does, the work goes on
            self._say(f"`report_to`: {self._tracker} has no more figures: {first_line(error)}")

    def end(self) -> None:
        """Have it send what is left, and wait a while for it."""
        self._ended.set()
        self._new.set()
        self.join(LAST_S)
        if self.is_alive():
            self._say(f"`report_to`: {self._tracker} does not answer: its last figures are lost")


class Reports(Protocol):
    """What the configurations of runs and trainings have in common."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def report_to(self) -> tuple[Tracker, ...]:
        """Trackers of experiments."""
        ...

    @property
    def store(self) -> str:
        """URL of the store."""
        ...


def reported(listener: Listener, config: Reports) -> Listener:
    """A listener that tells `listener` everything, and `report_to` the figures.

    Raises ConfigurationError for a tracker whose package is missing.
    """
    check_installed(config.report_to)
    return Reporting(listener, config.report_to, config.store, asdict(config))
