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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
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
CARDS = "cards"
"""Folder of the cards of the runs, where there are several."""

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


@dataclass(frozen=True, slots=True)
class _Piece:
    """A file of a download: where it lies and what it is called here."""

    run: Run
    view: str
    stored: DatasetFile
    path: str

    @property
    def file(self) -> DatasetFile:
        """The file as it is called here."""
        return replace(self.stored, path=self.path)


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
    check_download(dest, formats)
    pieces = [_Piece(run, view.name, file, file.path) for file in assemble(run, view, stages)]
    return _copied(pieces, dest, formats, progress)


def download_together(
    parts: Sequence[tuple[Run, View, Sequence[Described]]],
    dest: Path,
    card: Callable[[Mapping[str, int]], str],
    formats: Sequence[str] = ("parquet",),
    progress: Progress = lambda path, done, total: None,
) -> Download:
    """Copy the datasets of several runs to one folder that is read as one dataset.

    `parts`: (run, its view, its stages) of each; their rows have one type. `card`: rows of each run
    -> README.md of the whole; the card of each run lies in `cards/`. `check_download` comes first.
    Raises as `download`.
    """
    pieces: dict[str, _Piece] = {}
    for run, view, stages in parts:
        for file in assemble(run, view, stages):
            folder, _, name = file.path.rpartition("/")
            path = f"{folder}/{run.name}-{name}" if folder else name
            path = f"{CARDS}/{run.name}.md" if path == CARD else path
            pieces.setdefault(path, _Piece(run, view.name, file, path))
    return _copied([*pieces.values()], dest, formats, progress, card)


def check_download(dest: Path, formats: Sequence[str]) -> None:
    """Raise ConfigurationError and InputError for what can't be written, before any work."""
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ConfigurationError(
            f"--format {','.join(formats)}: choose {' or '.join(FORMATS)}, or both: "
            f"{','.join(FORMATS)}"
        )
    try:
        _check_place(dest)
    except OSError as error:
        raise _unwritable(dest, error) from error


def _unwritable(dest: Path, error: OSError) -> InputError:
    return InputError(f"{error.filename or dest}: {error.strerror or error}")


def _copied(
    pieces: Sequence[_Piece],
    dest: Path,
    formats: Sequence[str],
    progress: Progress,
    card: Callable[[Mapping[str, int]], str] | None = None,
) -> Download:
    """Copy the files that are missing; then write the card, if it is not one of them, and sums."""
    try:
        known = _known(dest, {path for piece in pieces for path in _paths_of(piece.file, FORMATS)})
        formats = [name for name in FORMATS if name in formats or _holds(known, name)]
        targets = [path for piece in pieces for path in _paths_of(piece.file, formats)]
        done: list[DatasetFile] = []
        rows: Counter[str] = Counter()
        fetched = 0
        for piece in pieces:
            if "/" not in piece.path:
                read = partial(read_file, piece.run, piece.view, piece.stored)
                _check_own(dest, piece.path, known, read)
        for piece in pieces:
            paths = _paths_of(piece.file, formats)
            standing = [_standing(dest, path, piece.file, known) for path in paths]
            if None in standing:
                data = read_file(piece.run, piece.view, piece.stored)
                standing = [_write(dest, path, _converted(data, path, formats)) for path in paths]
                fetched += len(paths)
            for copy in standing:
                assert copy is not None  # _write gives what stands now
                done.append(copy)
                progress(copy.path, len(done), len(targets))
            if piece.path.endswith(".parquet"):
                rows[piece.run.name] += _rows_in(dest / paths[0])
        if card is not None:
            together = card(rows).encode()
            _check_own(dest, CARD, known, lambda: together)
            done.append(_write(dest, CARD, _converted(together, CARD, formats)))
        _write(dest, SUMS, [sums_of(done)])
        size = sum((dest / copy.path).stat().st_size for copy in done)
    except OSError as error:
        raise _unwritable(dest, error) from error
    return Download(dest, tuple(done), fetched, rows.total(), size)


def _paths_of(file: DatasetFile, formats: Sequence[str]) -> list[str]:
    """Local paths of a stored file: data/x.parquet, jsonl/x.jsonl or both."""
    if not file.path.endswith(".parquet"):
        return [file.path]
    stem = Path(file.path).stem
    places = {"parquet": file.path, "jsonl": f"jsonl/{stem}.jsonl"}
    return [places[name] for name in FORMATS if name in formats]


def _known(dest: Path, targets: Set[str]) -> dict[str, str]:
    """Path -> digest of an earlier download. Raises InputError for files of another dataset."""
    for folder in ("data", "jsonl"):
        for path in sorted((dest / folder).glob("*")):
            if f"{folder}/{path.name}" not in targets and not path.name.startswith("."):
                raise InputError(f"{path} is not of this dataset: name an empty folder")
    sums = dest / SUMS
    if not sums.exists():
        return {}
    known = {file.path: file.sha256 for file in files_from(str(sums), sums.read_bytes())}
    if not known.keys() & targets:
        raise InputError(f"{sums} is not of this dataset: name an empty folder")
    return known


def _check_place(dest: Path) -> None:
    """Refuse a file, and a folder of somebody else's. Raises InputError.

    A download that was interrupted leaves `data` or `jsonl` and no sums.
    """
    if dest.exists() and not dest.is_dir():
        raise InputError(f"{dest} is a file: name a folder")
    names = {path.name for path in dest.glob("[!.]*")}
    if names and not names & {"data", "jsonl", SUMS}:
        raise InputError(f"{dest} holds {min(names)}: name a new or an empty folder")


def _check_own(dest: Path, path: str, known: dict[str, str], read: Callable[[], bytes]) -> None:
    """Raise InputError for a file beside the data that is neither an earlier download's nor this.

    A download that was interrupted leaves the card and no sums.
    """
    target = dest / path
    if not target.exists() or (there := sha256_of(target.read_bytes())) == known.get(path):
        return
    data = read()
    ours = (b"".join(_converted(data, path, [name])) for name in FORMATS)
    if there not in map(sha256_of, ours):
        raise InputError(
            f"{target} is not of this download, or was changed: move it away, or name an empty "
            "folder"
        )


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
