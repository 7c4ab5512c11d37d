"""Copying a finished dataset to a folder that `datasets.load_dataset` reads.

A download writes each file under a temporary name, flushes it, checks its digest and renames it. A
repeated download keeps the files that are right and fetches the rest.

Invariant: a file under its final name is whole and has the digest of `SHA256SUMS`, which is written
last. A folder never mixes files of two datasets.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.datasets.card import Described
from storage.datasets.dataset import (
    CARD,
    SUMS,
    DatasetFile,
    assemble,
    files_from,
    read_file,
    sums_of,
)
from storage.datasets.view import GENPRM, View
from storage.errors import ConfigurationError, InputError
from storage.rows.parquet import sha256_of
from storage.runs.run import Run

FORMATS = ("parquet", "jsonl")

Progress = Callable[[str, int, int], None]
"""(path of the file just done, files done, files in all)."""


@dataclass(frozen=True, slots=True)
class Download:
    """What the folder holds after the download."""

    folder: Path
    files: tuple[DatasetFile, ...]
    fetched: int
    """Files that this call wrote; the others were there already."""
    rows: int
    bytes: int


def download(
    run: Run,
    dest: Path,
    view: View = GENPRM,
    formats: Sequence[str] = ("parquet",),
    progress: Progress = lambda path, done, total: None,
    stages: Sequence[Described] = (),
) -> Download:
    """Copy a dataset to `dest`; `stages` are the run's stages, for the card.

    Raises NothingFound for an unfinished run, ConfigurationError, ObjectCorrupt, InputError.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ConfigurationError(
            f"--format {','.join(formats)}: choose {' or '.join(FORMATS)}, or both: "
            f"{','.join(FORMATS)}"
        )
    source = assemble(run, view, stages)
    try:
        known = _known(dest, {path for file in source for path in _paths_of(file, FORMATS)})
        formats = [name for name in FORMATS if name in formats or _holds(known, name)]
        targets = [path for file in source for path in _paths_of(file, formats)]
        done: list[DatasetFile] = []
        fetched = rows = size = 0
        for file in source:
            paths = _paths_of(file, formats)
            standing = [_standing(dest, path, file, known) for path in paths]
            if None in standing:
                data = read_file(run, view.name, file)
                standing = [_write(dest, path, _converted(data, path, formats)) for path in paths]
                fetched += len(paths)
            for copy in standing:
                assert copy is not None  # _write gives what stands now
                done.append(copy)
                size += (dest / copy.path).stat().st_size
                progress(copy.path, len(done), len(targets))
            if file.path.endswith(".parquet"):
                rows += _rows_in(dest / paths[0])
        _write(dest, SUMS, [sums_of(done)])
    except OSError as error:
        raise InputError(f"{error.filename or dest}: {error.strerror or error}") from error
    return Download(dest, tuple(done), fetched, rows, size)


def _paths_of(file: DatasetFile, formats: Sequence[str]) -> list[str]:
    """Local paths of a stored file: data/x.parquet, jsonl/x.jsonl or both."""
    if not file.path.endswith(".parquet"):
        return [file.path]
    stem = Path(file.path).stem
    places = {"parquet": file.path, "jsonl": f"jsonl/{stem}.jsonl"}
    return [places[name] for name in FORMATS if name in formats]


def _known(dest: Path, targets: Set[str]) -> dict[str, str]:
    """Path -> digest of an earlier download. Raises InputError for files of another dataset."""
    if dest.exists() and not dest.is_dir():
        raise InputError(f"{dest} is a file: name a folder")
    for folder in ("data", "jsonl"):
        for path in sorted((dest / folder).glob("*")):
            if f"{folder}/{path.name}" not in targets and not path.name.startswith("."):
                raise InputError(f"{path} is not of this dataset: name an empty folder")
    sums = dest / SUMS
    if not sums.exists():
        _check_foreign(dest, {path.partition("/")[0] for path in targets})
        return {}
    return {file.path: file.sha256 for file in files_from(str(sums), sums.read_bytes())}


def _check_foreign(dest: Path, ours: Set[str]) -> None:
    """Refuse a folder of somebody else's. Raises InputError.

    A download that was interrupted leaves `data` or `jsonl` and no sums.
    """
    names = {path.name for path in dest.glob("[!.]*")}
    others = names - ours if names & {"data", "jsonl"} else names
    if others:
        raise InputError(f"{dest} holds {min(others)}: name a new or an empty folder")


def _standing(
    dest: Path, path: str, file: DatasetFile, known: dict[str, str]
) -> DatasetFile | None:
    """The local file, if it is already right; else None."""
    expected = file.sha256 if path == file.path and path != CARD else known.get(path)
    target = dest / path
    if expected is None or not target.is_file() or sha256_of(target.read_bytes()) != expected:
        return None
    return DatasetFile(path, expected)


def _holds(known: dict[str, str], name: str) -> bool:
    """Whether an earlier download wrote this format, which then stays in the folder."""
    return any(path.endswith(f".{name}") for path in known)


def _converted(data: bytes, path: str, formats: Sequence[str]) -> Iterator[bytes]:
    """The bytes of the local file at `path`, in pieces: Parquet as stored, or as JSON lines."""
    if path.endswith(".jsonl"):
        for batch in pq.ParquetFile(pa.BufferReader(data)).iter_batches(batch_size=256):
            for row in batch.to_pylist():
                yield json.dumps(row, ensure_ascii=False).encode() + b"\n"
    elif path == CARD and "parquet" not in formats:
        yield data.replace(b"path: data/*.parquet", b"path: jsonl/*.jsonl")
    else:
        yield data


def _write(dest: Path, path: str, pieces: Iterable[bytes]) -> DatasetFile:
    """Write to a temporary name, flush, rename."""
    target = dest / path
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    digest = hashlib.sha256()
    with open(partial, "wb") as out:
        for piece in pieces:
            digest.update(piece)
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    os.replace(partial, target)
    return DatasetFile(path, digest.hexdigest())


def _rows_in(path: Path) -> int:
    if path.suffix == ".parquet":
        rows: int = pq.read_metadata(path).num_rows
        return rows
    with open(path, "rb") as lines:
        return sum(1 for _ in lines)
