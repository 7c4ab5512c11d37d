"""A sweep deletes stored data that no commit names, or can ever name.

A shard's commit can be created only once. Once it exists, every other data object of that shard is
garbage, even if its writer still runs. While it is absent or unreadable, a sweep leaves the shard
alone. The rule needs no clock, no grace period and no list of live writers.

Invariant: an object that a commit names, now or ever after, is never deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from storage.datasets.dataset import dataset_files, dataset_views
from storage.errors import NothingFound, ObjectCorrupt
from storage.objects.local import LocalStore
from storage.objects.store import Entry
from storage.rows.kinds import stage_rows
from storage.runs import layout
from storage.runs.commits import needed_of
from storage.runs.run import Run


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep removed, and what it left because the shard has no readable commit."""

    objects: int = 0
    bytes: int = 0
    unsettled: int = 0


def sweep(run: Run, *, dry_run: bool = False) -> Swept:
    """Delete the garbage of a run. Safe at any time, also while workers write."""
    objects = size = unsettled = 0
    parts = [_data(run, stage) for stage in run.spec.stages]
    for entry, garbage in chain(*parts, _dataset(run)):
        if garbage is None:
            unsettled += 1
        elif garbage:
            objects += 1
            size += entry.size
            if not dry_run:
                run.store.delete(entry.key)
    if isinstance(run.store, LocalStore) and not dry_run:
        run.store.sweep_partial()
    return Swept(objects, size, unsettled)


def _data(run: Run, stage: str) -> Iterator[tuple[Entry, bool | None]]:
    """Every data object of a stage, and whether it is garbage; None: no readable commit says."""
    named = _named_keys(run, stage)
    prefixes = [layout.data_prefix(run.name, stage)]
    if stage_rows(stage).needed is not None:
        prefixes.append(layout.needed_prefix(run.name, stage))
    for entry in chain(*map(run.store.list, prefixes)):
        shard = layout.shard_of(entry.key)
        keys = None if shard is None else named(shard)
        yield entry, None if keys is None else entry.key not in keys


def _dataset(run: Run) -> Iterator[tuple[Entry, bool | None]]:
    """The same for the Parquet files of assembled datasets; SHA256SUMS is their commit."""
    for view in dataset_views(run):
        prefix = f"{layout.dataset_prefix(run.name)}{view}/"
        try:
            named = {prefix + file.path for file in dataset_files(run, view)}
        except (NothingFound, ObjectCorrupt):
            named = None
        for entry in run.store.list(f"{prefix}data/"):
            yield entry, None if named is None else entry.key not in named


def _named_keys(run: Run, stage: str) -> Callable[[int], tuple[str, str] | None]:
    """Return a function: shard -> the keys that its commit names; recent answers are cached."""

    @lru_cache(maxsize=1024)
    def named(shard: int) -> tuple[str, str] | None:
        try:
            commit = run.commit(stage, shard)
        except (NothingFound, ObjectCorrupt):
            return None
        return commit.data_key, needed_of(run.name, commit)

    return named
