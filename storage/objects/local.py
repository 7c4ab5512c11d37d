"""Objects as files of a folder: the default store.

The store writes a file to `.partial`, flushes it to disk, then links it to its final name. `link`
fails if that name is taken, on local disks as on NFS. A process killed at any moment leaves at most
a file in `.partial`, which `sweep` removes.

Invariant: a visible file is complete and on disk, and no key reaches outside the folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from storage.errors import (
    ConfigurationError,
    NothingFound,
    StepmillError,
    StoreRefused,
    StoreUnavailable,
    first_line,
)
from storage.objects.store import Entry, Put, check_key, check_size, is_key

PARTIAL = ".partial"
MOST_FOLDERS = 32
"""Most folders above an object that is listed: far more than ours have."""
REFUSALS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG,
    errno.EXDEV,  # behind a link to another disk
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LocalStore:
    """A folder as an object store."""

    root: Path

    @classmethod
    def at(cls, folder: Path) -> LocalStore:
        """Open a folder; the first write creates it."""
        try:
            root = folder.resolve()
            file = root.exists() and not root.is_dir()
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL
            why = (isinstance(error, OSError) and error.strerror) or first_line(error)
            raise ConfigurationError(f"store {str(folder)[:200]!r}: {why}: name a folder") from None
        if file:
            raise ConfigurationError(f"store {str(root)!r} is a file: name a folder")
        return cls(root)

    @property
    def url(self) -> str:
        """`file:///folder`."""
        return self.root.as_uri()

    def put_new(self, key: str, data: bytes) -> Put:
        """Write to `.partial`, flush, link to the final name."""
        target = self.root / check_key(key)
        partial = self.root / PARTIAL / uuid.uuid4().hex
        try:
            if target.exists():
                return Put.EXISTS
            self._make_folders(partial.parent)
            self._make_folders(target.parent)
            try:
                with open(partial, "xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    os.link(partial, target)
                except FileExistsError:
                    return Put.EXISTS
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise self._classified(error, key) from error
        try:
            _flush_folder(target.parent)
        except OSError:  # visible, but perhaps not yet on disk
            return Put.UNKNOWN
        return Put.CREATED

    def get(self, key: str, most: int | None = None) -> bytes:
        """The file's bytes."""
        try:
            path = self.root / check_key(key)
            seen = path.stat()
            if not stat.S_ISREG(seen.st_mode) and not stat.S_ISDIR(seen.st_mode):
                # It would be waited for, or has no end.
                raise StoreRefused(f"{self.url}: {key} is a pipe or a device: take it away")
            check_size(key, seen.st_size, most)
            return path.read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NothingFound(f"{self.url}: no object {key}") from None
        except OSError as error:
            raise self._classified(error, key) from error

    def list(self, prefix: str, after: str = "", strays: bool = False) -> Iterator[Entry]:
        """List files by walking the deepest folder that the prefix names."""
        folder = prefix.rpartition("/")[0]
        if folder:
            check_key(folder)
        yield from self._walk(
            folder,
            lambda key: key.startswith(prefix) and key > after and (strays or is_key(key)),
        )

    def files(self, prefix: str) -> Iterator[Entry]:
        """The files of the folder."""
        folder = check_key(prefix.rstrip("/"))
        return self._walk(folder, is_key, deep=False)

    def folders(self, prefix: str) -> Iterator[str]:
        """Folders in which at least one file lies, at any depth; an emptied one has no name."""
        folder = check_key(prefix.rstrip("/"))
        try:
            with os.scandir(self.root / folder) as entries:
                names = [
                    entry.name
                    for entry in entries
                    if entry.is_dir() and is_key(entry.name)  # or a link to one
                ]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self._classified(error, folder) from error
        yield from (name for name in names if next(self._walk(f"{folder}/{name}"), None))

    def modified(self, key: str) -> float | None:
        """The time of the file."""
        try:
            return (self.root / check_key(key)).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            raise NothingFound(f"{self.url}: no object {key}") from None
        except OSError as error:
            raise self._classified(error, key) from error

    def delete(self, key: str) -> None:
        """Unlink the file."""
        try:
            (self.root / check_key(key)).unlink(missing_ok=True)
        except OSError as error:
            raise self._classified(error, key) from error

    def sweep_partial(self, older_than_s: float = 86_400) -> int:
        """Remove old files of killed writers. A live writer that loses its file tries again."""
        removed = 0
        try:
            for partial in (self.root / PARTIAL).glob("*"):
                with contextlib.suppress(FileNotFoundError):  # its writer linked it just now
                    if time.time() - partial.stat().st_mtime > older_than_s:
                        partial.unlink()
                        removed += 1
        except OSError as error:
            raise self._classified(error, PARTIAL) from error
        return removed

    def refuse_beyond(self, key: str) -> None:
        """Raise StoreRefused if an object lies, behind a link, beyond its run's or training's
        folder: whoever wrote the link can have it be any file of whoever reads it.
        """
        file = self.root / check_key(key)
        home = self.root.joinpath(*key.split("/")[:2]).resolve()
        if not file.resolve().is_relative_to(home):
            raise StoreRefused(
                f"{file} is a link to {file.resolve()}: no commit vouches for what lies there, so "
                "it is not copied; put a file in its place"
            )

    def refuse_links(self, prefix: str) -> None:
        """Raise StoreRefused if what lies below a prefix lies elsewhere, behind a link."""
        within = self.root / check_key(prefix.rstrip("/"))
        above = [within, *within.parents][: len(within.relative_to(self.root).parts)]
        below = (Path(at) / name for at, names, _ in os.walk(within) for name in names)
        for folder in chain(above, below):
            if folder.is_symlink():
                raise StoreRefused(
                    f"{folder} is a link: what lies behind it is not deleted; do that by hand and "
                    "take the link away, then repeat this"
                )

    def _walk(
        self, folder: str, wanted: Callable[[str], bool] = lambda key: True, deep: bool = True
    ) -> Iterator[Entry]:
        """The files of a folder, and of those in it if `deep`, whose key is `wanted`."""
        try:
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    key = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if deep and key != PARTIAL and key.count("/") < MOST_FOLDERS:
                            yield from self._walk(key, wanted)
                    elif wanted(key) and entry.is_file():  # or a link to one, which is read too
                        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                            yield Entry(key, entry.stat().st_size)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self._classified(error, folder) from error

    def _make_folders(self, folder: Path) -> None:
        """Create missing folders and flush each parent, so that a crash can't lose a folder."""
        if folder.is_dir():
            return
        self._make_folders(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush_folder(folder.parent)

    def _classified(self, error: OSError, key: str) -> StepmillError:
        message = f"{self.url}: {key}: {error.strerror or error}"
        return (StoreRefused if error.errno in REFUSALS else StoreUnavailable)(message)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
