"""Finds the item that kills its worker: runs a shard part by part, each noted in the store first.

A process that dies leaves the note of its current part. The next try begins with the parts that
have notes. A part with three notes is dropped as `poison`, and the rest of the shard goes on. A
part is a path (or response) if the stage takes these one by one, else a problem with all its paths.

Invariant: the parts together give what the whole shard would have given, less the dropped items.
Notes only count tries; they outlive driver and node. If every item is poison, the shard is not
committed: then the engine is broken, not the items.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from actors.workers.contract import ShardResult
from storage.errors import Broken, EngineFailed, RunStopped, SandboxLost
from storage.rows.accounting import account_of, problem_of
from storage.rows.kinds import Rows, ShardRows, stage_rows
from storage.rows.records import Drop
from storage.runs.run import Run

DEATHS = 3
"""Notes of one part after which it is dropped."""


@dataclass(frozen=True, slots=True)
class Part:
    """The smallest part of a shard that a stage can work on alone."""

    name: str
    items: tuple[str, ...]
    """The items of this part; all of them are dropped with it."""
    rows: ShardRows


def entered(run: Run, stage: str, shard: int) -> tuple[str, ...]:
    """The items of a shard that a stage gets, in the order of their rows."""
    order = run.spec.stages
    before = order[order.index(stage) - 1]
    commit = run.commit(before, shard)
    kind = stage_rows(before)
    rows = run.rows_of(commit, kind)
    through = account_of(kind, rows, commit.drops).through
    return tuple(dict.fromkeys(name for row in rows if (name := kind.goes_on(row)) in through))


def parts_of(kind: Rows[Any], rows: ShardRows, items: Iterable[str]) -> list[Part]:
    """Cut the rows that the stage of `kind` gets of a shard into parts, which together hold every
    item once, in order.
    """
    groups: dict[str, list[str]] = {}
    for item in items:
        groups.setdefault(problem_of(item) if kind.part == "paths" else item, []).append(item)

    def belongs(name: str, of: Rows[Any], row: Any) -> bool:
        if kind.part != "item":
            return bool(row.problem_id == name)
        return bool(getattr(row, of.of) == (problem_of(name) if of.of == "problem_id" else name))

    return [
        Part(name, tuple(inside), rows.only(partial(belongs, name)))
        for name, inside in groups.items()
    ]


class Notes:
    """Notes in the store, one object for each part under way; a dead process leaves its note."""

    def __init__(self, run: Run, stage: str, shard: int) -> None:
        self._store = run.store
        self._prefix = f"runs/{run.name}/{stage}/trials/{shard:06d}/"

    def deaths(self) -> Counter[str]:
        """Digest of a part's name -> its notes that are left."""
        keys = (entry.key.removeprefix(self._prefix) for entry in self._store.list(self._prefix))
        return Counter(key.partition("-")[0] for key in keys)

    def write(self, name: str) -> str:
        """Note that a part is under way; return the note's key."""
        key = f"{self._prefix}{digest(name)}-{uuid.uuid4().hex[:12]}.json"
        self._store.put_new(key, json.dumps({"item": name}).encode())
        return key

    def remove(self, key: str) -> None:
        """Remove one note: its part did not kill the worker."""
        self._store.delete(key)

    def clear(self, name: str = "") -> None:
        """Remove the notes of a part; without a name, all notes of the shard."""
        prefix = self._prefix + (digest(name) if name else "")
        for entry in list(self._store.list(prefix)):
            self._store.delete(entry.key)


def digest(name: str) -> str:
    """The form of a part's name in the key of its note."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


async def run_apart(
    parts: Sequence[Part],
    work: Callable[[ShardRows], Awaitable[ShardResult[Any]]],
    notes: Notes,
) -> ShardResult[Any]:
    """Run all parts, those with most notes first. Raises what `work` raises, and RunStopped."""
    deaths = await asyncio.to_thread(notes.deaths)
    results: dict[str, ShardResult[Any]] = {}
    for part in sorted(parts, key=lambda part: -deaths[digest(part.name)]):
        if deaths[digest(part.name)] >= DEATHS:
            detail = f"its worker died {DEATHS} times"
            results[part.name] = ShardResult(
                (), tuple(Drop(i, Broken.POISON, detail) for i in part.items)
            )
        else:
            results[part.name] = await _noted(part, work, notes, deaths[digest(part.name)])
    poisoned = sum(deaths[digest(part.name)] >= DEATHS for part in parts)
    if poisoned == len(parts) > 1:
        raise RunStopped("every item of a shard killed its worker: it is the engine, not the items")
    return _together([results[part.name] for part in parts])


async def _noted(
    part: Part,
    work: Callable[[ShardRows], Awaitable[ShardResult[Any]]],
    notes: Notes,
    suspected: int,
) -> ShardResult[Any]:
    key = await asyncio.to_thread(notes.write, part.name)
    try:
        result = await work(part.rows)
    except (EngineFailed, SandboxLost):
        raise  # the note stays: the part may have killed its engine or sandbox
    except BaseException:
        await asyncio.to_thread(notes.remove, key)
        raise
    if suspected:
        await asyncio.to_thread(notes.clear, part.name)  # it did not kill
    else:
        await asyncio.to_thread(notes.remove, key)
    return result


def _together(results: Sequence[ShardResult[Any]]) -> ShardResult[Any]:
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result.counts)
    return ShardResult(
        tuple(row for result in results for row in result.rows),
        tuple(drop for result in results for drop in result.drops),
        dict(counts),
    )
