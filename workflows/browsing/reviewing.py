"""Marks on the paths of a run: read once, put one by one, and as a column of the list.

Invariant: what is shown is what the store holds as it was last read; a mark that was put here is
shown at once.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import polars as pl

from storage.errors import InputError
from storage.runs.marks import Mark, check_mark, marks_of, put_mark
from storage.runs.run import Run


class Reviews:
    """The marks of one run. Thread-safe."""

    def __init__(self, run: Run, person: str) -> None:
        """`person`: whose marks are put here; empty: none are."""
        self.run, self.person = run, person
        self._lock = threading.Lock()
        self._marks: dict[tuple[str, str], Mark] = {}
        self._put: dict[tuple[str, str], Mark] = {}  # here: what is read may be older
        self._frame: pl.DataFrame | None = None

    def read(self) -> None:
        """Read the store's marks. Raises ObjectCorrupt, StoreUnavailable."""
        found = {(mark.path_id, mark.person): mark for mark in marks_of(self.run)}
        with self._lock:
            self._marks, self._frame = found | self._put, None

    def put(self, path_id: str, steps: int, said: dict[str, Any]) -> Mark:
        """Store what somebody said of a path of so many steps. Raises InputError."""
        right, step, note = said.get("right"), said.get("first_error"), said.get("note", "")
        if not isinstance(right, bool) or not isinstance(note, str):
            raise InputError("a mark is {right: true or false, first_error: a step or null, note}")
        if step is not None and (not isinstance(step, int) or not 0 <= step < max(1, steps)):
            raise InputError(f"first_error {step!r}: the path has steps 0 to {steps - 1}")
        at = datetime.now(UTC).isoformat(timespec="seconds")
        mark = put_mark(self.run, check_mark(Mark(path_id, self.person, right, step, note, at)))
        with self._lock:
            self._put[path_id, self.person] = self._marks[path_id, self.person] = mark
            self._frame = None
        return mark

    def of(self, path_id: str) -> list[Mark]:
        """Every person's mark of a path."""
        with self._lock:
            return [mark for (about, _), mark in self._marks.items() if about == path_id]

    def frame(self) -> pl.DataFrame | None:
        """path_id, mark: `right`, `wrong` where anybody says so; None where nobody marked."""
        with self._lock:
            if self._frame is None and self._marks:
                wrong: dict[str, bool] = {}
                for (path_id, _), mark in self._marks.items():
                    wrong[path_id] = wrong.get(path_id, False) or not mark.right
                said = ["wrong" if is_wrong else "right" for is_wrong in wrong.values()]
                self._frame = pl.DataFrame({"path_id": list(wrong), "mark": said})
            return self._frame
