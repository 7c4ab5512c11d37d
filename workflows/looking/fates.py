"""Where the solutions of a shard ended: the last stage that each reached, the reason, its rows.

Invariant: the same rule serves a single solution and all solutions of a shard.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import NothingFound
from storage.rows import schemas
from storage.rows.accounting import problem_of
from storage.rows.kinds import GROUNDED, OURS, PATHS, TREE, Rows, ShardRows, stage_rows, unfolding
from storage.rows.parquet import read_parquet
from storage.rows.records import Drop, Path
from storage.runs.commits import Commit
from storage.runs.run import Run


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


Seen = Callable[[Collection[str]], tuple[Sequence[Drop], Sequence[Any]]]
"""Items -> the drops of a stage's commit, and its rows about these items."""


def fate(run: Run, path_id: str, shard: int) -> Why:
    """Where a solution of this shard ended. Raises NothingFound."""

    def seen_by(stage: str) -> Seen | None:
        try:
            commit = run.commit(stage, shard)
        except NothingFound:
            return None
        kind = stage_rows(stage)
        return lambda items: (commit.drops, rows_about(run, commit, kind, items))

    return _fate(run, path_id, seen_by)


def fates(run: Run, shard: int, path_ids: Sequence[str] | None = None) -> Iterator[Why]:
    """Where some solutions of a shard ended (None: all). Each stage's rows are read once."""
    some = {item for path_id in path_ids or () for item in (path_id, problem_of(path_id))}
    read: dict[str, tuple[Commit, dict[str, dict[int, Any]]]] = {}
    """Stage -> item -> place in the shard -> row."""
    for stage in run.spec.stages:
        try:
            commit = run.commit(stage, shard)
        except NothingFound:
            break
        kind, about = stage_rows(stage), defaultdict[str, dict[int, Any]](dict)
        every = path_ids is None
        rows = run.rows_of(commit, kind) if every else rows_about(run, commit, kind, some)
        for place, row in enumerate(rows):
            for item in {getattr(row, kind.of), kind.goes_on(row)} - {None}:
                about[item][place] = row
        read[stage] = commit, about

    def seen_by(stage: str) -> Seen | None:
        if stage not in read:
            return None
        commit, about = read[stage]

        def of(items: Collection[str]) -> tuple[Sequence[Drop], Sequence[Any]]:
            there = {place: row for item in items for place, row in about.get(item, {}).items()}
            return commit.drops, [there[place] for place in sorted(there)]

        return of

    for path_id in _path_ids(read) if path_ids is None else path_ids:
        yield _fate(run, path_id, seen_by)


def rows_about(run: Run, commit: Commit, kind: Rows[Any], items: Collection[str]) -> Sequence[Any]:
    """The rows of a commit that are about some items, or go on as one of them.

    Of our own kinds only these rows are decoded. All rows of a foreign kind are, since they may go
    on as any item.
    """
    if OURS.get(kind.stage) is not kind:
        return [
            row
            for row in run.rows_of(commit, kind)
            if kind.goes_on(row) in items or getattr(row, kind.of) in items
        ]
    table = read_parquet(kind.record, run.data_of(commit), key=commit.data_key)
    about = pc.is_in(table[kind.of], value_set=pa.array(sorted(items), pa.string()))
    return schemas.from_table(kind.record, table.filter(about))


def unfolded_paths(run: Run, shard: int) -> dict[str, Path]:
    """Id -> the solution as later stages read it, from the root of a search tree to a leaf, or with
    an error put into it; {} where they read the sampled ones.
    """
    kind = unfolding(run.spec.stages)
    if kind is None or kind.unfold is None:
        return {}
    try:
        rows = ShardRows({PATHS: run.read_rows(PATHS, shard), kind: run.read_rows(kind, shard)})
    except NothingFound:  # not committed yet
        return {}
    return {path.path_id: path for path in kind.unfold(rows)[PATHS] if path.selected}


def _fate(run: Run, path_id: str, seen_by: Callable[[str], Seen | None]) -> Why:
    of_problems = stage_rows(run.input_stage).of == "problem_id"
    item = problem_of(path_id) if of_problems else path_id
    seen = {item, path_id}
    rows: dict[str, tuple[Any, ...]] = {}
    reason: str | None = None
    last, detail = run.input_stage, ""
    known, done = not of_problems, True
    for stage in run.spec.stages:
        look_up = seen_by(stage)
        if look_up is None:
            done = False
            break
        drops, about_it = look_up(seen)
        drop = next((drop for drop in drops if drop.item in seen), None)
        if about_it or drop:
            last, rows[stage] = stage, tuple(about_it)
        known = known or any(_is(row, path_id) for row in about_it) or drop is not None
        if drop is not None:
            reason, detail = drop.reason, drop.detail
            break
        if ended := next((why for row in about_it if (why := _unselected(row, path_id))), None):
            reason = ended
            break
    if not known and done:
        raise NothingFound(f"run {run.name!r} has no solution {path_id!r}")
    return Why(path_id, item, last, reason, detail, done and reason is None, rows)


def _path_ids(read: Mapping[str, tuple[Commit, Mapping[str, Mapping[int, Any]]]]) -> list[str]:
    """path_ids of a shard's solutions in order: sampled paths, then nodes of search trees."""
    ordered: dict[str, None] = {}
    for kind in (PATHS, TREE, GROUNDED):
        _, about = read.get(kind.stage, (None, {}))
        for row in (row for rows in about.values() for row in rows.values()):
            name = row.path_id if kind is PATHS else kind.goes_on(row)
            if name is not None:
                ordered[name] = None
    return list(ordered)


def _is(row: Any, path_id: str) -> bool:
    return path_id in (getattr(row, "path_id", None), getattr(row, "node_id", None))


def _unselected(row: Any, path_id: str) -> str | None:
    """Why a sample was not selected; None if it was, or for another row."""
    if not isinstance(row, Path) or row.path_id != path_id or row.selected:
        return None
    return row.invalid_reason or ("duplicate" if row.duplicate_of else "not_selected")
