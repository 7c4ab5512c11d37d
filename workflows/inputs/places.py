"""Where input comes from: a file, a folder or pattern of files, a bucket, or the hub.

    problems.jsonl  folder  data/train-*  s3://bucket/problems.parquet  hf://datasets/NAME

Invariant: a place that can't be read is one line that says what to write instead, InputError where
it is the person's to mend, and what the store raises otherwise.
"""

from __future__ import annotations

import glob
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit, urlunsplit

from storage.errors import InputError, NothingFound
from storage.objects.opening import open_store
from storage.rows.kinds import PROBLEMS

COMPRESSED = (".gz", ".gzip", ".zst", ".bz2")
TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_ABOUT = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})
"""Files that the hub's library lays beside tables, and that are none."""
_SPLIT = re.compile(r"(train|test|validation|valid|val|dev)(?=$|[-._])")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a place."""

    name: str
    """As messages call it."""
    open: Callable[[], io.BufferedReader]
    """Raises OSError and what a store raises."""

    @property
    def suffix(self) -> str:
        """The kind of the table, without the ending of its compression."""
        return kind_of(self.name.partition("?")[0])


def kind_of(name: str) -> str:
    """`.jsonl` of `problems.jsonl.gz`."""
    path = PurePosixPath(name.lower())
    return path.with_suffix("").suffix if path.suffix in COMPRESSED else path.suffix


def is_url(source: str) -> bool:
    """Whether a source is no path of this machine."""
    return "://" in source or re.match(r"(s3|hf|https?):", source) is not None


def resolved(folder: Path, source: str) -> str:
    """A source that a file in `folder` names, made absolute; a URL as it is."""
    return source if is_url(source) else str((folder / Path(source).expanduser()).resolve())


def files_of(source: str, what: str = PROBLEMS.stage) -> list[File]:
    """The tables of a place, in the order of their names. Raises InputError."""
    if is_url(source):
        return _bucket(source) if source.startswith("s3://") else _refuse(source)
    path = Path(source).expanduser()
    if path.is_dir():
        names = sorted(f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file())
        tables = [name for name in names if _is_table(name)]
        if not tables:
            raise InputError(f"{path}: no {', '.join(TABLES)} file in this folder (nor .gz, .zst)")
        _check_splits(source, tables)
        return [_local(path / name) for name in tables]
    if path.is_file():
        return [_local(path)]
    found = sorted(glob.glob(str(path), recursive=True))
    if not found:
        raise InputError(f"{path}: no such file of {what}")
    return [_local(Path(name)) for name in found if Path(name).is_file()]


def _local(path: Path) -> File:
    return File(str(path), partial(opened, path))


def opened(path: Path) -> io.BufferedReader:
    """A file of this machine, to read its bytes."""
    return path.open("rb")


def _is_table(key: str) -> bool:
    """Whether a file below a folder is a table, by its name."""
    parts = PurePosixPath(key).parts
    hidden = any(part.startswith((".", "_")) for part in parts)
    return not hidden and parts[-1] not in _ABOUT and kind_of(key) in TABLES


def _check_splits(source: str, names: Sequence[str]) -> None:
    """Refuse a folder that mixes the problems of a training and a test split."""
    splits: dict[str, str] = {}
    for name in names:
        match = next(filter(None, map(_SPLIT.match, reversed(PurePosixPath(name).parts))), None)
        splits.setdefault(match[1] if match else "", name)
    known = sorted(splits.keys() - {""})
    if len(known) > 1:
        shown = ", ".join(f"{split} ({splits[split]})" for split in known)
        raise InputError(
            f"{source}: holds the splits {shown}: name one of them, as a file, a folder or a "
            "pattern such as data/test-*"
        )


def _bucket(url: str) -> list[File]:
    """An object, or the tables below a prefix."""
    parts = urlsplit(url)
    folder, _, name = parts.path.strip("/").rpartition("/")
    alone = kind_of(name)
    store = open_store(urlunsplit(parts._replace(path=folder if alone else parts.path)))
    address = store.url.partition("?")[0].rstrip("/")

    def object_of(key: str) -> io.BufferedReader:
        try:
            return io.BufferedReader(io.BytesIO(store.get(key)))
        except (NothingFound, ValueError):
            raise InputError(f"{address}/{key}: no such object: correct `problems`") from None

    if alone:
        return [File(f"{address}/{name}", partial(object_of, name))]
    keys = sorted(entry.key for entry in store.list("", strays=True) if _is_table(entry.key))
    if not keys:
        raise InputError(f"{url}: no {', '.join(TABLES)} object below it")
    _check_splits(url, keys)
    return [File(f"{address}/{key}", partial(object_of, key)) for key in keys]


def _refuse(source: str) -> list[File]:
    kind = re.match(r"[a-z0-9]+", source)
    scheme = kind[0] if kind else ""
    if scheme in ("s3", "hf") and "://" not in source:
        rest = source.partition(":")[2].lstrip("/")
        raise InputError(f"{source}: did you mean {scheme}://{rest}?")
    raise InputError(
        f"{source}: {scheme}:// is not read: download it and name the file, or name a folder, "
        "s3://BUCKET/KEY or hf://datasets/NAME"
    )
