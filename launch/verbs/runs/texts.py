"""The verb `texts`: prints the rationales that were dropped, each with its reason.

Invariant: it only reads the store. Texts come in the order of the run's shards.
"""

from __future__ import annotations

import polars as pl

from launch.shown.text import json_line, say
from storage.errors import ConfigurationError
from storage.rows.kinds import RATIONALES
from storage.runs.run import Run
from storage.runs.scan import scan


def show_dropped(run: Run, reason: str | None, limit: int, as_json: bool) -> None:
    """Print dropped texts. Raises ConfigurationError for a run that writes no rationales."""
    if RATIONALES.stage not in run.spec.stages:
        raise ConfigurationError(
            f"run {run.name} has no stage {RATIONALES.stage}: no texts of it are stored"
        )
    dropped = dropped_texts(run, reason).head(limit).collect()
    for row in dropped.iter_rows(named=True):
        if as_json:
            say(json_line(row))
        else:
            about = f"{row['path_id']}, attempt {row['attempt'] + 1}: {row['dropped']}"
            say(f"=== {about}\n{row['text']}\n")
    if dropped.is_empty() and not as_json:
        say(f"run {run.name} has no dropped text" + (f" of {reason!r}" if reason else ""))


def dropped_texts(run: Run, reason: str | None = None) -> pl.LazyFrame:
    """The rows whose text was dropped, for one reason or for any."""
    why = pl.col("dropped")
    kind = why.str.splitn(":", 2).struct.field("field_0")
    chosen = why.is_not_null() if reason is None else kind == reason
    return (
        scan(run, RATIONALES.stage).filter(chosen).select("path_id", "attempt", "dropped", "text")
    )
