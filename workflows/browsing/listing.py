"""A list of paths: narrowed, searched, counted and cut into pages.

Invariant: a page holds rows of the index in the order of the shards; a search reads texts, a shard
at a time, and what it found so far is a list like any other.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from storage.errors import NothingFound, StepmillError
from storage.rows.kinds import JUDGEMENTS, PATHS, PROBLEMS, RATIONALES, REPAIRED, Rows
from storage.runs.run import Run
from workflows.browsing.beside import with_beside
from workflows.browsing.filters import FIELDS, OF_TWO, parse, shown_value
from workflows.browsing.index import Index

PAGE_ROWS = 50
FACET_VALUES = 60
"""Values of a column that are offered, those that most paths have."""
READERS = 2
"""Shards whose texts are searched at once."""
_KEPT = 16
"""Lists whose rows are remembered, so that the next page costs nothing."""

TEXTS: tuple[tuple[Rows[Any], str, tuple[str, ...]], ...] = (
    (PROBLEMS, "problem_id", ("problem",)),
    (PATHS, "path_id", ("text",)),
    (RATIONALES, "path_id", ("text",)),
    (JUDGEMENTS, "path_id", ("text",)),
    (REPAIRED, "path_id", ("wrong", "replacement")),
)
"""What a search looks into: rows, what they are about, columns."""

Asked = Mapping[str, Sequence[str]]
_Key = tuple[str, tuple[tuple[str, tuple[str, ...]], ...]]
"""Of a list: its text, and what it is narrowed by."""


@dataclass(slots=True)
class Found:
    """The rows of a list, by their numbers in the index."""

    numbers: np.ndarray[Any, np.dtype[np.int64]]
    searched: int = 0
    """Shards whose texts were searched."""
    of_shards: int = 0
    done: bool = True
    trouble: str = ""
    stopped: threading.Event = field(default_factory=threading.Event)


class Listing:
    """The lists of one run. Thread-safe."""

    def __init__(self, index: Index, marks: Any = None, beside: Index | None = None) -> None:
        """`marks`: gives path_id -> what people call it, as a frame of `path_id` and `mark`.

        `beside`: of another run, whose paths are listed beside those of this one.
        """
        self.index = index
        self.beside = beside
        self._marks = marks or (lambda: None)
        self._lock = threading.Lock()
        self._version = (-1, -1)
        self._marked: pl.DataFrame | None = None
        self._frame = pl.DataFrame()
        self._found: OrderedDict[_Key, Found] = OrderedDict()

    def frame(self) -> pl.DataFrame:
        """The index with column `mark`, and those of the run beside it."""
        with self._lock:
            return self._now()

    def found(self, asked: Asked, text: str = "") -> Found:
        """The rows of a list; those of a search come while it goes on.

        Raises ConfigurationError for a filter that is none.
        """
        return self._list(asked, text)[1]

    def _list(self, asked: Asked, text: str) -> tuple[pl.DataFrame, Found]:
        """The index with column `mark`, and the rows of a list by their numbers in it."""
        expression = parse(asked, self.beside is not None)
        key = text, tuple(sorted((name, tuple(values)) for name, values in asked.items()))
        with self._lock:  # held meanwhile: two who ask at once begin one search
            frame = self._now()
            if key in self._found:
                self._found.move_to_end(key)
                return frame, self._found[key]
            found = Found(_numbers(frame, pl.lit(True) if expression is None else expression))
            if text:
                found = self._search(frame, found.numbers, text)
            self._found[key] = found
            while len(self._found) > _KEPT:
                self._forget(next(iter(self._found)))
            return frame, found

    def _now(self) -> pl.DataFrame:
        """The index with column `mark`; what it made stale is forgotten."""
        other, marks = self.beside, self._marks()
        version = self.index.version, other.version if other else 0
        if (version, marks is self._marked) != (self._version, True):
            # Marks change no number of a row, but which rows a filter by marks leaves.
            for key in list(self._found):
                if version != self._version or any(name == "mark" for name, _ in key[1]):
                    self._forget(key)
            self._version, self._marked = version, marks
            self._frame = marked(self.index.frame(), marks)
            if other is not None:
                self._frame = with_beside(self._frame, other.frame())
        return self._frame

    def _forget(self, key: _Key) -> None:
        self._found.pop(key).stopped.set()

    def page(
        self, asked: Asked, text: str = "", start: int = 0, rows: int = PAGE_ROWS
    ) -> dict[str, Any]:
        """Some rows of a list, and how many there are."""
        frame, found = self._list(asked, text)
        numbers = found.numbers[start : start + rows]
        return {
            "total": len(found.numbers),
            "start": start,
            "rows": frame[numbers].to_dicts(),
            "searched": found.searched,
            "of_shards": found.of_shards,
            "done": found.done,
            "trouble": found.trouble,
        }

    def facets(self, asked: Asked, text: str = "") -> dict[str, list[list[Any]]]:
        """Of each column of choices the values that the list's paths have, with their numbers.

        Of a column that is asked for, those that it would have without.
        """
        narrowed = self._rows(asked, text)
        facets = {}
        for of in FIELDS:
            if of.kind != "choice" or (of.name == OF_TWO and self.beside is None):
                continue
            others = {name: values for name, values in asked.items() if name != of.name}
            of_others = others != asked and not text
            rows = self._rows(others) if of_others else narrowed
            counted = (
                rows.lazy().group_by(of.name).len()
                .sort("len", of.name, descending=[True, False]).head(FACET_VALUES)
                .select(shown_value(of.name), "len").collect()
            )  # fmt: skip
            facets[of.name] = [list(row) for row in counted.iter_rows()]
        return facets

    def place(self, path_id: str, asked: Asked, text: str = "") -> dict[str, Any] | None:
        """Where a path stands in a list: its row, its number, and its neighbours' ids.

        A path that the list leaves out stands between those around it. None: the index has no
        such path.
        """
        frame, found = self._list(asked, text)
        rows = _numbers(frame, pl.col("path_id") == path_id)
        if not len(rows):
            return None
        row, numbers = int(rows[0]), found.numbers
        at = int(np.searchsorted(numbers, row))
        listed = at < len(numbers) and int(numbers[at]) == row
        after = at + 1 if listed else at
        return {
            "row": frame.row(row, named=True),
            "number": at + 1 if listed else None,
            "total": len(numbers),
            "before": frame["path_id"][int(numbers[at - 1])] if at > 0 else None,
            "after": frame["path_id"][int(numbers[after])] if after < len(numbers) else None,
        }

    def _rows(self, asked: Asked, text: str = "") -> pl.DataFrame:
        if not asked and not text:
            return self.frame()
        frame, found = self._list(asked, text)
        return frame[found.numbers]

    def _search(
        self, frame: pl.DataFrame, numbers: np.ndarray[Any, np.dtype[np.int64]], text: str
    ) -> Found:
        candidates = (
            frame[numbers]
            .select("shard", "path_id", "problem_id")
            .with_columns(number=pl.Series(numbers))
        )
        by_shard = candidates.partition_by("shard", maintain_order=True)
        found = Found(np.empty(0, np.int64), 0, len(by_shard), done=False)

        def hits_of(rows: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.int64]]:
            if found.stopped.is_set():
                return found.numbers[:0]
            return hits_in(self.index.run, int(rows["shard"][0]), text, rows)

        def go() -> None:
            try:
                with ThreadPoolExecutor(READERS) as readers:
                    for hits in readers.map(hits_of, by_shard):
                        if len(hits):
                            found.numbers = np.concatenate([found.numbers, hits])
                        found.searched += 1
            except (StepmillError, OSError) as error:
                found.trouble = str(error)
            finally:
                found.done = True

        threading.Thread(target=go, name="search", daemon=True).start()
        return found


def marked(frame: pl.DataFrame, marks: pl.DataFrame | None) -> pl.DataFrame:
    """Rows of the index with column `mark`."""
    if marks is None:
        return frame.with_columns(mark=pl.lit(None, pl.String))
    return frame.join(marks, on="path_id", how="left", maintain_order="left")


def _numbers(frame: pl.DataFrame, holds: pl.Expr) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The numbers of the rows for which an expression holds."""
    held = frame.lazy().with_columns(held=holds.fill_null(False))
    rows = held.select(pl.col("held").arg_true()).collect().to_series()
    return rows.to_numpy().astype(np.int64)


def hits_in(
    run: Run, shard: int, text: str, candidates: pl.DataFrame
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The numbers of those candidates of a shard whose texts hold `text`, whatever its case."""
    pattern = f"(?i){re.escape(text)}"
    seen = pl.repeat(False, candidates.height, eager=True)
    for kind, about, columns in TEXTS:
        if kind.stage not in run.spec.stages:
            continue
        try:
            table = pl.from_arrow(run.read_table(kind, shard, [about, *columns]))
        except NothingFound:  # not committed yet
            continue
        assert isinstance(table, pl.DataFrame)
        holds = pl.any_horizontal(pl.col(name).str.contains(pattern) for name in columns)
        seen |= candidates[about].is_in(table.filter(holds)[about].to_list())
    numbers: np.ndarray[Any, np.dtype[np.int64]] = candidates.filter(seen)["number"].to_numpy()
    return numbers


def first_rows(
    index: Index, marks: pl.DataFrame | None, asked: Asked, text: str, limit: int
) -> Iterator[dict[str, Any]]:
    """The first rows of a list, read no further than they stand. Raises ConfigurationError."""
    expression, given = parse(asked), 0
    for part in index.parts():
        rows = marked(part, marks).with_row_index("number")
        rows = rows if expression is None else rows.filter(expression)
        for of_shard in rows.partition_by("shard", maintain_order=True):
            if text:
                hits = hits_in(index.run, int(of_shard["shard"][0]), text, of_shard)
                of_shard = of_shard.filter(pl.col("number").is_in(hits.tolist()))
            for row in of_shard.drop("number").iter_rows(named=True):
                yield row
                given += 1
                if given == limit:
                    return
