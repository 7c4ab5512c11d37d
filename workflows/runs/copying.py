"""Copies a run into another store, or under another name, and leaves the original as it is.

    1. data of every commit, marks, plans, datasets  no run yet: nobody lists data
    2. spec.json, then launch.json and its like      an unfinished run, which `build` could continue
    3. commits                                       each after its data
    4. _SUCCESS.json                                 of a finished run

Objects that are there already are not sent again, so repeating a copy goes on. Notes on work in
progress stay behind.

Invariant: a copied shard equals the original to the byte. The copy is a run of its own: it follows
the commit protocol, also beside a build that continues it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from storage.datasets.dataset import (
    SUMS,
    DatasetFile,
    dataset_files,
    dataset_views,
    read_file,
    sums_of,
)
from storage.errors import ConfigurationError, NothingFound, SpecMismatch
from storage.objects.store import ObjectStore
from storage.runs import layout
from storage.runs.commits import Commit, needed_of, put_content, receipt_of, settle
from storage.runs.documents import copy_settled, put_settled
from storage.runs.origin import origin_run, same_shard
from storage.runs.removal import obeyed
from storage.runs.run import Run
from storage.summaries.folding import Folding
from storage.summaries.shards import begins_with, block_of, blocks_among
from workflows.runs.run import finish

COPIERS = 8
"""Objects copied at once; each is in memory as a whole."""
LEFT = ("spec.json", "_SUCCESS.json", "stopped.json", "removed.json")
"""Documents of a run that are not copied as they are: made anew, or of no meaning there."""
Moved = Callable[[int, int], None]
"""Called with the bytes that are at the destination now, and those in all."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A run that was copied."""

    run: Run
    """The copy."""
    objects: int
    """Objects with rows or of datasets that the original has."""
    bytes: int
    fetched: int
    """Of these, the ones that were copied now."""
    lacking: tuple[str, ...]
    """Runs that it was derived from, and that the destination does not have."""


def copy_run(
    source: Run, store: ObjectStore, name: str, moved: Moved = lambda done, total: None
) -> Copied:
    """Copy a run, finished or not, to `store` under `name`.

    Raises ConfigurationError for a copy onto itself, SpecMismatch where another run has the name,
    Removed, and InfrastructureError.
    """
    layout.check_run_name(name)
    if (store.url, name) == (source.store.url, source.name):
        raise ConfigurationError(f"run {name!r} would be copied onto itself: name another store")
    there = Run.find(store, name)
    if there is not None and there.spec.fingerprint != source.spec.fingerprint:
        raise SpecMismatch(
            f"run {name!r} in {store.url} is another run: copy it `--as` another name"
        )
    with obeyed(store, layout.run_prefix(name)):
        run = Run(store, name, source.spec, source.patience)
        success = source.success()
        objects, size, fetched = _copy_contents(source, run, moved)
        Run.start(store, name, source.spec, source.patience)
        _copy_documents(source, run)
        _commit(source, run)
        if success is not None:
            finish(run)
    origin = origin_run(source)
    lacking = [origin] if origin and Run.find(store, origin) is None else []
    return Copied(run, objects, size, fetched, tuple(lacking))


@dataclass(frozen=True, slots=True)
class _Object:
    """An object to copy, with content that its key or a checksum names."""

    key: str
    size: int
    """0 for what follows from other objects."""
    sha256: str
    read: Callable[[], bytes]


def _copy_contents(source: Run, run: Run, moved: Moved) -> tuple[int, int, int]:
    """Copy rows, datasets and marks; return (objects, bytes, objects that were not there)."""
    total = _bytes_of(source, run)
    there: set[str] = set()
    objects = done = fetched = 0

    def copy(one: _Object) -> bool:
        if one.key in there:
            return False
        if not (data := one.read()):  # what was needed of rows is gone: readers take the rows
            return False
        put_content(run.store, one.key, data, one.sha256, patience=run.patience)
        return True

    with ThreadPoolExecutor(COPIERS) as copiers:
        for prefix, part in _contents(source, run):
            there = {entry.key for entry in run.store.list(prefix)}
            for one, new in zip(part, copiers.map(copy, part), strict=True):
                objects, done, fetched = objects + 1, done + one.size, fetched + new
                moved(done, max(total, done))
    for view, files in _datasets(source, run):
        sums = f"{layout.dataset_prefix(run.name)}{view}/{SUMS}"
        put_settled(run.store, sums, sums_of(list(files)), run.patience)
    for folder in ("marks/", "plans/"):
        _copy_named(source, run, _names(source, folder) - _names(run, folder))
    return objects, done, fetched


def _bytes_of(source: Run, run: Run) -> int:
    """Bytes of the objects that are copied, about."""
    success = source.success()
    if success is not None:
        size = sum(totals.bytes for totals in success.totals.values())
    else:
        stages = source.spec.stages
        prefixes = [layout.data_prefix(source.name, stage) for stage in stages]
        size = sum(entry.size for prefix in prefixes for entry in source.store.list(prefix))
    if run.name == source.name:
        listed = source.store.list(layout.dataset_prefix(source.name))
        size += sum(entry.size for entry in listed)
    return size


def _copy_documents(source: Run, run: Run) -> None:
    """Copy what lies beside the stages: the configuration, the origin, the chain, plans."""
    prefix = layout.run_prefix(source.name)
    names = {entry.key.removeprefix(prefix) for entry in source.store.files(prefix)}
    _copy_named(source, run, names - set(LEFT))


def _names(run: Run, folder: str) -> set[str]:
    """Keys of a run below one of its folders, without the run's prefix."""
    prefix = layout.run_prefix(run.name)
    return {entry.key.removeprefix(prefix) for entry in run.store.list(prefix + folder)}


def _copy_named(source: Run, run: Run, names: Iterable[str]) -> None:
    """Copy small objects of a run, by their keys without its prefix."""
    before, after = layout.run_prefix(source.name), layout.run_prefix(run.name)
    keys = {before + name: after + name for name in sorted(names)}
    copy_settled(source.store, keys, run.store, run.patience)


def _contents(source: Run, run: Run) -> Iterator[tuple[str, list[_Object]]]:
    """The rows of every commit, a block at a time, and the prefix of their keys.

    Under the same name also the datasets, whose cards hold it.
    """

    def rows_of(commit: Commit) -> _Object:
        key = layout.data_key(run.name, commit.stage, commit.shard, commit.sha256)
        return _Object(key, commit.bytes, commit.sha256, partial(source.data_of, commit))

    def needed(commit: Commit) -> _Object:
        key = needed_of(run.name, commit)
        return _Object(key, 0, commit.needed, partial(source.needed_bytes, commit))

    for stage in source.spec.stages:
        for shards in blocks_among(source.shards_of(stage)):
            names = begins_with(block_of(shards[0]))
            commits = list(source.commits(stage, shards))
            yield f"{layout.data_prefix(run.name, stage)}{names}", list(map(rows_of, commits))
            if beside := [needed(commit) for commit in commits if commit.needed]:
                yield f"{layout.needed_prefix(run.name, stage)}{names}", beside
    for view, files in _datasets(source, run):
        prefix = f"{layout.dataset_prefix(run.name)}{view}/"
        sizes = dict(source.store.list(prefix))
        yield (
            prefix,
            [
                _Object(
                    prefix + file.path,
                    sizes.get(prefix + file.path, 0),
                    file.sha256,
                    partial(read_file, source, view, file),
                )
                for file in files
            ],
        )


def _datasets(source: Run, run: Run) -> Iterator[tuple[str, tuple[DatasetFile, ...]]]:
    """View -> files, of the assembled datasets that are copied."""
    for view in sorted(dataset_views(source)) if run.name == source.name else ():
        with suppress(NothingFound):  # its assembly was interrupted
            yield view, dataset_files(source, view)


def _commit(source: Run, run: Run) -> None:
    """Commit the copied shards. Raises SpecMismatch where another commit stands."""

    def settled(commit: Commit) -> Commit:
        key = layout.data_key(run.name, commit.stage, commit.shard, commit.sha256)
        place = layout.commit_key(run.name, commit.stage, commit.shard)
        standing = settle(run.store, place, replace(commit, data_key=key), run.patience)
        if not same_shard(standing, commit):
            raise SpecMismatch(
                f"run {run.name!r} in {run.store.url} has made its own shard {commit.shard} of "
                f"{commit.stage}: copy it `--as` another name"
            )
        return standing

    with ThreadPoolExecutor(COPIERS) as copiers, Folding(run) as folding:
        for stage in source.spec.stages:
            commits = source.commits(stage)
            while part := list(islice(commits, 8 * COPIERS)):
                for standing in copiers.map(settled, part):
                    folding.note(receipt_of(standing))
