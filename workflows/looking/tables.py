"""The dropped items of a run as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

import polars as pl

from storage.rows.records import Drop
from storage.runs.run import Run

_SCHEMA = {"stage": pl.String, "shard": pl.Int64} | {of.name: pl.String for of in fields(Drop)}


def drops_of(run: Run, stages: Sequence[str]) -> pl.LazyFrame:
    """Stage, shard, item, reason and detail of all drops of some stages, from their commits."""
    rows = [
        {"stage": commit.stage, "shard": commit.shard, **asdict(drop)}
        for stage in stages
        for commit in run.commits(stage)
        for drop in commit.drops
    ]
    return pl.LazyFrame(rows, schema=_SCHEMA)
