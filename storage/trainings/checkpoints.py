"""Folders of files in the object store, cut into parts that are named by their digest.

A file of any size becomes parts of at most 64 MiB, each one create-only PUT under its digest. So
no multipart upload is needed, a stored part is not sent again, and two checkpoints share equal
parts. The commit (`storage.trainings.training`) lists the parts of each file.

Invariant: a commit names a folder only after all its parts are stored. A fetched folder gets its
final name only after every part's digest was checked.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from storage.errors import InputError, NothingFound, ObjectCorrupt
from storage.objects.patience import PATIENT, Patience
from storage.objects.store import ObjectStore
from storage.rows.parquet import check_digest, sha256_of
from storage.runs.commits import canonical_json, put_content

PART_BYTES = 64 * 1024 * 1024
WRITERS = 4
"""Parts in flight at once; they take WRITERS times PART_BYTES of memory."""

Moved = Callable[[int], None]
"""Called with the bytes of each part that was moved."""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A piece of a file."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file by its path within the folder, and its parts in order."""

    path: str
    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return sum(part.bytes for part in self.parts)


def part_key(prefix: str, part: Part) -> str:
    """Key of a part in the store."""
    return f"{prefix}parts/{part.sha256}"


def folder_digest(files: Sequence[StoredFile]) -> str:
    """One digest over paths and contents of a stored folder's files."""
    listed = sorted([file.path, *(part.sha256 for part in file.parts)] for file in files)
    return sha256_of(canonical_json(listed))


def files_in(folder: Path) -> list[str]:
    """Paths of all files of a folder, sorted."""
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def store_files(
    store: ObjectStore,
    prefix: str,
    folder: Path,
    paths: Sequence[str],
    patience: Patience = PATIENT,
    moved: Moved = lambda size: None,
    part_bytes: int | None = None,
) -> list[StoredFile]:
    """Store the files `paths` of a folder. Raises StoreUnavailable, StoreRefused.

    part_bytes: largest part; WRITERS of them are in memory, here and where they are fetched.
    """

    def put(piece: tuple[str, int, int]) -> tuple[str, Part]:
        path, start, size = piece
        with open(folder / path, "rb") as file:
            file.seek(start)
            data = file.read(size)
        part = Part(sha256_of(data), len(data))
        put_content(store, part_key(prefix, part), data, part.sha256, patience=patience)
        moved(part.bytes)
        return path, part

    stored: dict[str, list[Part]] = {path: [] for path in paths}
    with ThreadPoolExecutor(WRITERS) as writers:
        for path, part in writers.map(put, _pieces(folder, paths, part_bytes or PART_BYTES)):
            stored[path].append(part)
    return [StoredFile(path, tuple(parts)) for path, parts in stored.items()]


def fetch_files(
    store: ObjectStore,
    prefix: str,
    files: Sequence[StoredFile],
    folder: Path,
    moved: Moved = lambda size: None,
) -> None:
    """Write a stored folder to disk, several parts at a time; it gets its name when it is complete.

    Raises ObjectCorrupt if a part is gone or damaged, InputError if another folder has the name.
    """
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        fetch_pieces(store, prefix, pieces_of(files), aside, moved)
        for file in files:
            target = aside / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "ab") as out:  # an empty file has no parts
                os.fsync(out.fileno())
        os.replace(aside, folder)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """A part of a file, by its place there."""

    path: str
    start: int
    """Its first byte in the file."""
    part: Part


def pieces_of(files: Iterable[StoredFile]) -> list[Piece]:
    """All parts of some files, in order."""
    found = []
    for file in files:
        starts = accumulate((part.bytes for part in file.parts), initial=0)
        found += [Piece(file.path, at, part) for at, part in zip(starts, file.parts, strict=False)]
    return found


def fetch_pieces(
    store: ObjectStore,
    prefix: str,
    pieces: Sequence[Piece],
    folder: Path,
    moved: Moved = lambda size: None,
) -> None:
    """Write parts of files to their places in a folder, where other parts may be missing or be
    written by somebody else. Raises ObjectCorrupt, OSError, InfrastructureError.
    """

    def fetch(piece: Piece) -> None:
        data = _part(store, prefix, piece)
        with open(os.open(folder / piece.path, os.O_WRONLY | os.O_CREAT, 0o644), "wb") as out:
            out.seek(piece.start)
            out.write(data)
        moved(piece.part.bytes)

    for parent in {(folder / piece.path).parent for piece in pieces}:
        parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(WRITERS) as readers:
        deque(readers.map(fetch, pieces), maxlen=0)


def read_file(store: ObjectStore, prefix: str, file: StoredFile) -> bytes:
    """A small stored file. Raises ObjectCorrupt if a part is gone or damaged."""
    return b"".join(_part(store, prefix, piece) for piece in pieces_of([file]))


def holds(folder: Path, files: Sequence[StoredFile]) -> bool:
    """Whether a local folder has exactly these files, byte for byte."""
    if not folder.is_dir() or files_in(folder) != sorted(file.path for file in files):
        return False
    return all(_same(folder / file.path, file) for file in files)


def _pieces(folder: Path, paths: Sequence[str], part_bytes: int) -> Iterator[tuple[str, int, int]]:
    for path in paths:
        size = (folder / path).stat().st_size
        for start in range(0, size, part_bytes):
            yield path, start, part_bytes


def _part(store: ObjectStore, prefix: str, piece: Piece) -> bytes:
    """The bytes of a part, read twice if the digest differs. Raises ObjectCorrupt."""
    key, sha256 = part_key(prefix, piece.part), piece.part.sha256
    try:
        data = store.get(key, piece.part.bytes)
        if sha256_of(data) != sha256:
            data = store.get(key, piece.part.bytes)
            check_digest(key, data, sha256)
    except NothingFound:
        raise ObjectCorrupt(f"{key} is gone: it is a part of {piece.path}") from None
    return data


def _same(path: Path, file: StoredFile) -> bool:
    if path.stat().st_size != file.bytes:
        return False
    with open(path, "rb") as stream:
        return all(sha256_of(stream.read(part.bytes)) == part.sha256 for part in file.parts)
