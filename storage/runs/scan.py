"""The committed rows of a stage as a polars frame: for counting, joining and comparing.

    scan(run, "label").select("path_id", "labels").collect()

Bytes come through the run's store, some shards at a time, so each kind of store is read alike. Only
the requested columns are decoded, and a filter is applied before the next shards are read.

Invariant: a frame holds exactly the rows that the stage's commits name, in the order of the shards.
Bytes with another digest than the committed one never become rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from storage.rows import schemas
from storage.rows.kinds import Rows, stage_rows
from storage.runs.run import READERS, Run


def scan(run: Run, stage: str) -> pl.LazyFrame:
    """The rows of a stage that are committed when the frame is collected.

    A field that older rows lack has its default. Raises ConfigurationError for a stage that the run
    lacks. Collecting raises ObjectCorrupt and the store's errors.
    """
    kind = stage_rows(run.check_stage(stage))
    schema = dict(_frame(schemas.schema_of(kind.record).empty_table()).schema)
    return register_io_source(partial(_frames, run, kind), schema=schema)


def _frames(
    run: Run,
    kind: Rows[Any],
    columns: list[str] | None,
    predicate: pl.Expr | None,
    limit: int | None,
    _size: int | None,
) -> Iterator[pl.DataFrame]:
    """Yield the rows shard by shard, as polars requests them."""
    names = columns or schemas.schema_of(kind.record).names
    shards = sorted(run.shards_of(kind.stage))

    def read(shard: int) -> pl.DataFrame:
        table = schemas.completed(kind.record, run.read_table(kind, shard, names), names)
        frame = _frame(table)
        return frame if predicate is None else frame.filter(predicate)

    readers = ThreadPoolExecutor(READERS)
    try:
        for start in range(0, len(shards), READERS):
            for frame in readers.map(read, shards[start : start + READERS]):
                yield frame if limit is None else frame.head(limit)
                if limit is not None:
                    limit -= min(limit, frame.height)
            if limit == 0:
                return
    finally:
        # polars may close this generator from any thread, also from one of the readers.
        readers.shutdown(wait=False)


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
