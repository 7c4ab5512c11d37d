"""Stored runs, altered as no part of Stepmill would."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from storage.objects.memory import MemoryStore
from storage.rows.kinds import stage_rows
from storage.rows.parquet import encode_shard
from storage.rows.records import Drop
from storage.runs import commits, layout
from storage.runs.commits import Commit
from storage.runs.run import Run


def rewrite(run: Run, stage: str, shard: int, change: Callable[[Commit], Commit]) -> None:
    """Replace a commit by an altered one, as no part of Stepmill would."""
    store = run.store
    assert isinstance(store, MemoryStore)
    commit = change(run.commit(stage, shard))
    store.objects[layout.commit_key(run.name, stage, shard)] = commits.commit_bytes(commit)


def recommit(run: Run, stage: str, shard: int, rows: Sequence[object], drops: list[Drop]) -> None:
    """Give a shard other rows under a commit that fits them."""
    row_type = stage_rows(stage).record
    encoded = encode_shard(row_type, rows)
    key = layout.data_key(run.name, stage, shard, encoded.sha256)
    run.store.put_new(key, encoded.data)
    rewrite(
        run, stage, shard,
        lambda commit: dataclasses.replace(
            commit, data_key=key, sha256=encoded.sha256, rows=encoded.rows,
            bytes=len(encoded.data), drops=tuple(drops),
        ),
    )  # fmt: skip
