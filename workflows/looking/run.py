"""Read access to a run: progress, rows as tables, examples, and what happened to a solution.

Invariant: only the store is read, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from storage.datasets.dataset import check_view, rows_in
from storage.errors import NothingFound
from storage.objects.opening import open_store
from storage.rows.accounting import problem_of
from storage.rows.kinds import stage_rows
from storage.runs.run import Run
from storage.runs.scan import scan
from workflows.looking.fates import Why, fate
from workflows.looking.tables import drops_of
from workflows.runs.reading import store_url, usual_store

if TYPE_CHECKING:
    from workflows.runs.status import RunStatus


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
        from workflows.runs.status import run_status  # loads every stage

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
        from workflows.views.catalogue import view_of  # loads the formats of all views

        shape = view_of(view, self.run)
        check_view(self.run, shape)
        read = [stage for stage in shape.reads if stage in self.stages]
        shards = self.run.shards_of(*read)
        return (row for shard in shards for row in rows_in(self.run, shape, shard))

    def why(self, path_id: str, shard: int | None = None) -> Why:
        """The last stage that a solution reached, why it ended there, and its rows.

        `path_id`: a build's solution, or the response_id of a scored one. `shard`: its shard, if
        known; None: search for it. Raises NothingFound.
        """
        return fate(self.run, path_id, self.shard_of(path_id) if shard is None else shard)

    def shard_of(self, path_id: str) -> int:
        """The shard of a solution's problem, by a scan of the input's ids. Raises NothingFound."""
        kind = stage_rows(self.run.input_stage)
        item = problem_of(path_id) if kind.of == "problem_id" else path_id
        if not item:
            raise NothingFound(
                f"run {self.name!r} has no solution {path_id!r}: an id is PROBLEM#NUMBER"
            )
        rows = (
            self.scan(kind.stage)
            .with_row_index("row")
            .filter(pl.col(kind.of) == item)
            .select("row")
            .collect()
        )
        if rows.is_empty():
            raise NothingFound(f"run {self.name!r} has no {kind.of} {item!r}")
        return self.run.spec.plan.shard_of(int(rows["row"][0]))


def open_run(run: str | Run, store: str | None = None) -> OpenRun:
    """Open the run of this name in a store (`file:FOLDER`, `s3://BUCKET/PREFIX`) for reading.

    `store` None: `$STEPMILL_STORE`, else the default one. Raises NothingFound, ConfigurationError,
    StoreUnavailable.
    """
    if isinstance(run, Run):
        return OpenRun(run)
    return OpenRun(Run.open(open_store(store_url(store or usual_store())), run))
