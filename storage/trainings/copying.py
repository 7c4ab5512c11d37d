"""Copies a training into another store, or under another name, and checks what it has there.

Parts of files go first, then the spec, then the commits, the finished model last. Parts that are
there already are not sent again, so repeating a copy goes on.

Invariant: a commit is stored only after all parts that it names. The copy is a training of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from storage.errors import ConfigurationError, NothingFound, ObjectCorrupt
from storage.objects.store import ObjectStore
from storage.rows.parquet import check_digest
from storage.runs.commits import put_content
from storage.runs.documents import copy_settled
from storage.runs.layout import check_run_name
from storage.runs.removal import obeyed
from storage.trainings.checkpoints import WRITERS, Part, part_key
from storage.trainings.folders import StoredFolder
from storage.trainings.training import Training

Moved = Callable[[int, int], None]
"""Called with the bytes that are at the destination now, and those in all."""


@dataclass(frozen=True, slots=True)
class CopiedTraining:
    """A training that was copied."""

    training: Training
    objects: int
    """Parts of files that the original's commits name."""
    bytes: int
    fetched: int
    """Of these parts, the ones that were copied now."""


def copy_training(
    source: Training, store: ObjectStore, name: str, moved: Moved = lambda done, total: None
) -> CopiedTraining:
    """Copy a training, finished or not, to `store` under `name`.

    Raises ConfigurationError for a copy onto itself, SpecMismatch where another training has the
    name, Removed, and InfrastructureError.
    """
    there = Training(store, check_run_name(name), source.spec, source.patience)
    if (store.url, there.prefix) == (source.store.url, source.prefix):
        raise ConfigurationError(
            f"training {name!r} would be copied onto itself: name another store"
        )
    parts = list(dict.fromkeys(part for folder in _folders(source) for part in _parts(folder)))
    total, done, fetched = sum(part.bytes for part in parts), 0, 0
    with obeyed(store, there.prefix):
        known = {entry.key for entry in store.list(there.prefix)}

        def copy(part: Part) -> bool:
            key = part_key(there.prefix, part)
            if key in known:
                return False
            data = source.store.get(part_key(source.prefix, part), part.bytes)
            check_digest(key, data, part.sha256)
            put_content(store, key, data, part.sha256, patience=there.patience)
            return True

        with ThreadPoolExecutor(WRITERS) as writers:
            for part, new in zip(parts, writers.map(copy, parts), strict=True):
                done, fetched = done + part.bytes, fetched + new
                moved(done, total)
        _copy_below(source, there, "dataset/")
        Training.start(store, name, source.spec, there.patience)
        _copy_below(source, there, "checkpoints/")
        _copy_below(source, there, "model.json")
    return CopiedTraining(there, len(parts), total, fetched)


def damaged_parts(training: Training) -> list[str]:
    """Read every part that a commit of the training names; a line for each that is not right."""

    def look(part: Part) -> str | None:
        key = part_key(training.prefix, part)
        try:
            check_digest(key, training.store.get(key, part.bytes), part.sha256)
        except NothingFound:
            return f"{key} is gone"
        except ObjectCorrupt as error:
            return str(error)
        return None

    parts = dict.fromkeys(part for folder in _folders(training) for part in _parts(folder))
    with ThreadPoolExecutor(WRITERS) as readers:
        return [line for line in readers.map(look, parts) if line is not None]


def _folders(training: Training) -> Iterator[StoredFolder]:
    """The finished model, or else the checkpoints."""
    model = training.model()
    if model is not None:
        yield model
    else:
        yield from map(training.checkpoint, training.checkpoints())


def _parts(folder: StoredFolder) -> Iterator[Part]:
    return (part for file in folder.files for part in file.parts)


def _copy_below(source: Training, there: Training, what: str) -> None:
    found = [entry.key for entry in source.store.list(source.prefix + what)]
    keys = {key: there.prefix + key.removeprefix(source.prefix) for key in found}
    copy_settled(source.store, keys, there.store, there.patience)
