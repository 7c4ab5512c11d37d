"""What the page asks for, answered from the runs that are open: the same for server and files.

Invariant: an answer is plain data ready for JSON; errors of a person are raised as UserError.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from storage.errors import NothingFound, StepmillError
from storage.runs.marks import MOST_NOTE
from storage.runs.plans import latest_plan
from storage.runs.run import Run
from workflows.browsing.filters import FIELDS
from workflows.browsing.glance import glance
from workflows.browsing.index import Index
from workflows.browsing.listing import PAGE_ROWS, Asked, Listing
from workflows.browsing.path_page import path_page
from workflows.browsing.reviewing import Reviews
from workflows.looking.run import OpenRun


class Desk:
    """One run, open: its index, lists and marks."""

    def __init__(self, run: Run, folder: Path | None, person: str) -> None:
        self.run = OpenRun(run)
        self.index = Index(run, folder)
        self.reviews = Reviews(run, person)
        self.listing = Listing(self.index, self.reviews.frame)
        self._beside: dict[str, Listing] = {}
        self._stopped = threading.Event()
        self._no_marks = ""

    def start(self) -> None:
        """Read the index and the marks in the background."""
        threading.Thread(target=self._read_marks, name="marks", daemon=True).start()
        threading.Thread(
            target=self.index.keep_filling, args=(self._stopped,), name="index", daemon=True
        ).start()

    def stop(self) -> None:
        """End the reading."""
        self._stopped.set()

    def _read_marks(self) -> None:
        try:
            self.reviews.read()
        except (StepmillError, OSError) as error:
            self._no_marks = f"marks can't be read: {error}"

    def meta(self) -> dict[str, Any]:
        """What the page must know before anything else."""
        progress = self.index.progress()
        return {
            "run": self.run.name,
            "stages": list(self.run.stages),
            "problems": self.run.run.spec.plan.items,
            "progress": asdict(progress)
            | {"complete": progress.complete, "trouble": progress.trouble or self._no_marks},
            "fields": [asdict(of) for of in FIELDS],
            "page_rows": PAGE_ROWS,
            "person": self.reviews.person,
            "most_note": MOST_NOTE,
        }

    @staticmethod
    def reasons() -> dict[str, str]:
        """Reason -> its meaning. It loads all stages, after the first figures are drawn."""
        from launch.verbs.looking.reasons import meanings

        return meanings()

    def glance(self) -> dict[str, Any]:
        """The figures of the first page."""
        found = self.index.remembered(
            "glance", lambda: glance(self.run.run, self.index.frame(), self.index.figures())
        )
        plan = latest_plan(self.run.run.store, self.run.name)  # it may be younger than the rest
        if plan is None:
            return found | {"planned": []}
        from launch.shown.plans import planned_lines  # these load every stage
        from workflows.browsing.planned import planned

        beside = planned(self.run.run, found["stages"], plan)
        return found | {"planned": planned_lines(beside, plan.currency)}

    def list_beside(self, other: Desk | None) -> Listing:
        """The list of this run, with another one beside it or alone."""
        if other is None or other is self:
            return self.listing
        made = Listing(self.index, self.reviews.frame, other.index)
        return self._beside.setdefault(other.run.name, made)

    def path(
        self, path_id: str, asked: Asked, text: str, listing: Listing | None = None
    ) -> dict[str, Any]:
        """One path and its place in a list. Raises NothingFound, ConfigurationError."""
        place = (listing or self.listing).place(path_id, asked, text)
        if place is None and self.index.progress().complete:
            raise NothingFound(f"run {self.run.name!r} has no path {path_id!r}")
        row = None if place is None else place.pop("row")
        found = path_page(self.run, path_id, None if row is None else row["shard"])
        marks = [asdict(mark) for mark in self.reviews.of(path_id)]
        return found | {"place": place, "row": row, "marks": marks}

    def mark(self, path_id: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """Store a mark. Raises InputError, NothingFound, StoreUnavailable."""
        place = self.listing.place(path_id, {})
        shard = None if place is None else place["row"]["shard"]
        path = path_page(self.run, path_id, shard)["path"]
        if path is None:
            raise NothingFound(f"run {self.run.name!r} has no path {path_id!r}")
        return asdict(self.reviews.put(path_id, len(path["steps"]), dict(said)))


def open_desks(runs: Sequence[Run], folder: Path | None, person: str) -> dict[str, Desk]:
    """Name -> run, open. Raises ConfigurationError, NothingFound."""
    return {run.name: Desk(run, folder, person) for run in runs}
