"""Read access to a run: progress, rows as tables, examples, and what happened to a solution.

Invariant: only the store is read, and nothing is written.
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
    """Which stage a solution reached, and why it ended there."""

    path_id: str
    problem_id: str
    stage: str
    """The last stage that has a row or a drop of it."""
    reason: str | None
    """Why it ended there; None: it goes on, or has passed every stage."""
    detail: str
    finished: bool
    """Whether it has passed every stage of the run."""
    rows: Mapping[str, tuple[Any, ...]]
    """Stage -> its rows of this solution and of its problem."""

    def __str__(self) -> str:
        """The outcome in a line."""
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
        """The run's name."""
        return self.run.name

    @property
    def stages(self) -> tuple[str, ...]:
        """The run's stages in their order, the input first."""
        return self.run.spec.stages

    def status(self) -> RunStatus:
        """Shards, rows, drops and tokens of every stage, from its commits."""
        return run_status(self.run)

    def scan(self, stage: str) -> pl.LazyFrame:
        """The committed rows of a stage as a lazy table; its columns are the record's fields.

        Only the columns that a query uses are decoded. Some stages also store rows of dropped
        items. Raises ConfigurationError for a stage that the run lacks.
        """
        return scan(self.run, stage)

    def drops(self, stage: str | None = None) -> pl.LazyFrame:
        """The items dropped at a stage, or at all stages: stage, shard, item, reason, detail."""
        return drops_of(self.run, self.stages if stage is None else (self.run.check_stage(stage),))

    def examples(self, view: str = "genprm") -> Iterator[Any]:
        """The examples in the shape of a view, with a single shard in memory.

        Raises ConfigurationError for an unknown view, or for a view of a stage that the run lacks.
        """
        shape = view_of(view, self.run)
        check_view(self.run, shape)
        committed = (self.run.shards_of(stage) for stage in shape.reads if stage in self.stages)
        shards = sorted(set.intersection(*committed))
        return (row for shard in shards for row in rows_in(self.run, shape, shard))

    def why(self, path_id: str) -> Why:
        """The last stage that a solution reached, why it ended there, and its rows.

        `path_id`: a build's solution, or the response_id of a scored one. Raises NothingFound.
        """
        of_problems = stage_rows(self.run.input_stage).of == "problem_id"
        item = problem_of(path_id) if of_problems else path_id
        shard = self._shard_of(item)
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
            here = tuple(
                row
                for row in self.run.rows_of(commit, kind)
                if kind.goes_on(row) == path_id or getattr(row, kind.of) in seen
            )
            if here or drop:
                last, rows[stage] = stage, here
            known = known or any(_is(row, path_id) for row in here) or drop is not None
            if drop is not None:
                reason, detail = drop.reason, drop.detail
                break
            if ended := next((why for row in here if (why := _unselected(row, path_id))), None):
                reason = ended
                break
        if not known and done:
            raise NothingFound(f"run {self.name!r} has no solution {path_id!r}")
        return Why(path_id, item, last, reason, detail, done and reason is None, rows)

    def _shard_of(self, item: str) -> int:
        kind = stage_rows(self.run.input_stage)
        rows = (
            self.scan(kind.stage)
            .with_row_index("row")
            .filter(pl.col(kind.of) == item)
            .select("row")
            .collect()
        )
        if rows.is_empty():
            raise NothingFound(f"run {self.name!r} has no {kind.of} {item!r}")
        return int(rows["row"][0]) // self.run.spec.plan.items_per_shard


def open_run(run: str | Run, store: str = DEFAULT_STORE) -> OpenRun:
    """Open the run of this name in a store (`file:FOLDER`, `s3://BUCKET/PREFIX`) for reading.

    Raises NothingFound, ConfigurationError, StoreUnavailable.
    """
    return OpenRun(run if isinstance(run, Run) else Run.open(open_store(store_url(store)), run))


def _is(row: Any, path_id: str) -> bool:
    return path_id in (getattr(row, "path_id", None), getattr(row, "node_id", None))


def _unselected(row: Any, path_id: str) -> str | None:
    """Why a sample was not selected; None if it was, or for another row."""
    if not isinstance(row, Path) or row.path_id != path_id or row.selected:
        return None
    return row.invalid_reason or ("duplicate" if row.duplicate_of else "not_selected")
