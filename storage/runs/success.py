"""`_SUCCESS.json`: the end of a run. It holds each stage's totals, and names every commit.

A run of one block names its commits in place. A larger one names the digests of its blocks'
summaries, which name the commits, so that the document stays small for a run of any size. Documents
of before name all commits in place.

Invariant: it exists only if every shard of every stage is committed, and never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from typing import Any

from storage.errors import ObjectCorrupt
from storage.runs.commits import canonical_json
from storage.runs.documents import parsed, read_as
from storage.runs.totals import StageTotals, same_totals


@dataclass(frozen=True, slots=True)
class Success:
    """The content of `_SUCCESS.json`."""

    run: str
    spec: str
    totals: dict[str, StageTotals]
    commits: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Stage -> one entry per shard, in order: the fields of `storage.summaries.summary.Named`."""
    parts: dict[str, list[str]] = field(default_factory=dict)
    """Stage -> sha256 of each block's summary, in order; in place of `commits`."""


def success_bytes(success: Success) -> bytes:
    """Canonical JSON, without what is not there."""
    body = asdict(success)
    return canonical_json({name: value for name, value in body.items() if value})


def success_from(key: str, data: bytes) -> Success:
    """Read what `success_bytes` wrote. Raises ObjectCorrupt for anything else."""
    success = read_as(Success, key, parsed(key, data))
    if success.parts and success.parts.keys() != success.totals.keys():
        raise ObjectCorrupt(f"{key}: totals and parts are of other stages")
    return success


def same_end(
    stored: Success, ours: Success, named: Callable[[str, Success], Iterable[object]]
) -> bool:
    """Whether a stored end says what ours does, if perhaps in the form of before.

    `named`: what the commits of a stage name, by an end.
    """
    if stored == ours:
        return True
    return (
        (stored.run, stored.spec) == (ours.run, ours.spec)
        and stored.totals.keys() == ours.totals.keys()
        and all(same_totals(stored.totals[stage], ours.totals[stage]) for stage in ours.totals)
        and all(
            one == other
            for stage in ours.totals
            for one, other in zip_longest(named(stage, stored), named(stage, ours))
        )
    )
