"""A run to look at: how far it is, its rows as tables, its examples, and what became of a solution.

Invariant: nothing is written, and nothing is asked but the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from storage.datasets.dataset import check_view, rows_in
from storage.errors import NothingFound
from storage.objects.opening import open_store
from storage.rows.accounting import problem_of
from storage.rows.kinds import stage_rows
from storage.rows.records import Path
from storage.runs.layout import DEFAULT_STORE
from storage.runs.run import Run
from storage.runs.scan import scan
from workflows.looking.tables import drops_of
from workflows.runs.reading import store_url
from workflows.runs.status import RunStatus, run_status
from workflows.views.catalogue import view_of


@dataclass(frozen=True, slots=True)
class Why:
    """What became of one solution."""

    path_id: str
    problem_id: str
    stage: str
    """The last stage that saw it."""
    reason: str | None
    """Why it ended there; None: it goes on, or has come through every stage."""
    detail: str
    finished: bool
    """Whether it has come through every stage of the run."""
    rows: Mapping[str, tuple[Any, ...]]
    """Stage -> its rows of this solution and of its problem."""

    def __str__(self) -> str:
        """One line."""
        if self.reason is not None:
            detail = f" ({self.detail})" if self.detail else ""
            return f"{self.path_id} ended at {self.stage}: {self.reason}{detail}"
        state = "came through every stage" if self.finished else f"has come through {self.stage}"
        return f"{self.path_id} {state}"


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run of a store, finished or not."""

    run: Run

    @property
    def name(self) -> str:
        """Its name."""
        return self.run.name

    @property
    def stages(self) -> tuple[str, ...]:
        """Its stages in their order, the input first."""
        return self.run.spec.stages

    def status(self) -> RunStatus:
        """Shards, rows, drops and tokens of every stage, from commits alone."""
        return run_status(self.run)

    def scan(self, stage: str) -> pl.LazyFrame:
        """The committed rows of a stage as a lazy table; the fields are those of its record.

        Only the columns that are asked for are decoded. Rows of dropped items are among them
        where the stage stores what it saw. Raises ConfigurationError for a stage that the run has
        not.
        """
        return scan(self.run, stage)

    def drops(self, stage: str | None = None) -> pl.LazyFrame:
        """The items that ended at a stage, or at any: stage, shard, item, reason, detail."""
        return drops_of(self.run, self.stages if stage is None else (self.run.check_stage(stage),))

    def examples(self, view: str = "genprm") -> Iterator[Any]:
        """The examples in the shape of a view, one shard in memory at a time.

        Raises ConfigurationError for a view that is unknown, or made of a stage that the run has
        not.
        """
        shape = view_of(view, self.run)
        check_view(self.run, shape)
        made = (self.run.shards_of(stage) for stage in shape.reads if stage in self.stages)
        shards = sorted(set.intersection(*made))
        return (row for shard in shards for row in rows_in(self.run, shape, shard))

    def why(self, path_id: str, shard: int | None = None) -> Why:
        """What became of a solution: the last stage that saw it, the reason, and its rows.

        `path_id`: of a build's solution, or the id of a scored response. `shard`: where it is,
        looked for unless it is known. Raises NothingFound.
        """
        of_problems = stage_rows(self.run.input_stage).of == "problem_id"
        item = problem_of(path_id) if of_problems else path_id
        if not item:
            raise NothingFound(
                f"run {self.name!r} has no solution {path_id!r}: an id is PROBLEM#NUMBER"
            )
        shard = self._shard_of(item) if shard is None else shard
        seen = {item, path_id}
        rows: dict[str, tuple[Any, ...]] = {}
        reason: str | None = None
        last, detail = self.run.input_stage, ""
        known, done = not of_problems, True
        for stage in self.stages:
            if shard not in self.run.shards_of(stage):
                done = False
                break
            commit, kind = self.run.commit(stage, shard), stage_rows(stage)
            drop = next((drop for drop in commit.drops if drop.item in seen), None)
            found = tuple(
                row
                for row in self.run.rows_of(commit, kind)
                if kind.goes_on(row) == path_id or getattr(row, kind.of) in seen
            )
            if found or drop:
                last, rows[stage] = stage, found
            known = known or any(_is(row, path_id) for row in found) or drop is not None
            if drop is not None:
                reason, detail = drop.reason, drop.detail
                break
            if ended := next((why for row in found if (why := _unselected(row, path_id))), None):
                reason = ended
                break
        if not known and done:
            raise NothingFound(f"run {self.name!r} has no solution {path_id!r}")
        return Why(path_id, item, last, reason, detail, done and reason is None, rows)

    def _shard_of(self, item: str) -> int:
        kind = stage_rows(self.run.input_stage)
        found = (
            self.scan(kind.stage)
            .with_row_index("row")
            .filter(pl.col(kind.of) == item)
            .select("row")
            .collect()
        )
        if found.is_empty():
            raise NothingFound(f"run {self.name!r} has no {kind.of} {item!r}")
        return int(found["row"][0]) // self.run.spec.plan.items_per_shard


def open_run(run: str | Run, store: str = DEFAULT_STORE) -> OpenRun:
    """The run of this name in a store (`file:FOLDER`, `s3://BUCKET/PREFIX`), to look at.

    Raises NothingFound, ConfigurationError, StoreUnavailable.
    """
    return OpenRun(run if isinstance(run, Run) else Run.open(open_store(store_url(store)), run))


def _is(row: Any, path_id: str) -> bool:
    return path_id in (getattr(row, "path_id", None), getattr(row, "node_id", None))


def _unselected(row: Any, path_id: str) -> str | None:
    """Why a sample goes no further."""
    if not isinstance(row, Path) or row.path_id != path_id or row.selected:
        return None
    return row.invalid_reason or ("duplicate" if row.duplicate_of else "not_selected")
