"""The verb `texts`: rationales that were paid for and dropped, each with its reason.

Invariant: nothing is asked and nothing written; texts come in the order of the run's shards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

import typer

from storage.errors import ConfigurationError
from storage.rows.kinds import RATIONALES
from storage.rows.records import Rationale
from storage.runs.run import Run

STAGE = "rationalize"


def show_dropped(run: Run, reason: str | None, limit: int, as_json: bool) -> None:
    """Print dropped texts. Raises ConfigurationError for a run that writes no rationales."""
    if STAGE not in run.spec.stages:
        raise ConfigurationError(f"run {run.name} has no stage {STAGE}: no texts of it are stored")
    shown = 0
    for row in islice(dropped_texts(run, reason), limit):
        shown += 1
        if as_json:
            body = {"path_id": row.path_id, "attempt": row.attempt, "dropped": row.dropped}
            typer.echo(json.dumps({**body, "text": row.text}, ensure_ascii=False))
        else:
            typer.echo(f"=== {row.path_id}, attempt {row.attempt + 1}: {row.dropped}\n{row.text}\n")
    if not shown and not as_json:
        typer.echo(f"run {run.name} has no dropped text" + (f" of {reason!r}" if reason else ""))


def dropped_texts(run: Run, reason: str | None = None) -> Iterator[Rationale]:
    """The rows whose text was dropped, of one reason or of all."""
    for shard in sorted(run.shards_of(STAGE)):
        for row in run.read_rows(RATIONALES, shard):
            if row.dropped is not None and reason in (None, row.dropped.split(":")[0]):
                yield row
