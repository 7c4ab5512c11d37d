"""A folder in the temporary directory that belongs to a process and is removed with it.

An owner that is killed leaves its folder. The next process that opens an owned folder removes it.

Invariant: a folder is removed only by its owner or by a process that got its lock. The kernel frees
the lock when the owner is dead. Process ids play no part, because containers that share a temporary
directory number their processes apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

PREFIX = "stepmill-"
LOCK = "owner.lock"
SOCKET_BYTES = 107
"""Most bytes of the path of a unix socket."""
RAY_SOCKET_BYTES = len("ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
RANDOM_BYTES = 8
"""Bytes that `mkdtemp` adds to a name."""


class OwnedFolder:
    """A new folder, locked while this process lives or until `remove`."""

    def __init__(self, kind: str, sockets: int = 0, base: Path | None = None) -> None:
        """`kind` is part of its name. `sockets`: bytes of the longest socket path within it.

        If those don't fit below a long TMPDIR, the folder is made in /tmp.
        """
        name = f"{PREFIX}{kind}-"
        usual = tempfile.gettempdir()
        longest = SOCKET_BYTES - len(f"/{name}/") - RANDOM_BYTES - sockets
        base = base or Path(usual if not sockets or len(usual) <= longest else "/tmp")
        sweep(base)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=name, dir=base))
            self._lock = os.open(self.path / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if os.fstat(self._lock).st_nlink:
                break
            os.close(self._lock)  # another process swept it before we had the lock

    def __enter__(self) -> Path:
        """The folder."""
        return self.path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the folder."""
        self.remove()

    def remove(self) -> None:
        """Remove the folder and give up the lock. Idempotent."""
        if self._lock < 0:
            return
        _clear(self.path)
        os.close(self._lock)
        self._lock = -1


def ray_folder() -> OwnedFolder:
    """A folder for a Ray cluster on this machine."""
    return OwnedFolder("ray", sockets=RAY_SOCKET_BYTES)


def sweep(base: Path) -> None:
    """Remove this user's folders in `base` whose owners are dead."""
    for lock in base.glob(f"{PREFIX}*/{LOCK}"):
        try:
            if lock.parent.lstat().st_uid != os.geteuid():
                continue
            held = os.open(lock, os.O_RDWR)
        except OSError:
            continue  # removed meanwhile
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _clear(lock.parent)
        except BlockingIOError:
            continue
        finally:
            os.close(held)


def is_held(file: Path) -> bool:
    """Whether a process, in any container, has the file locked. False if there is no file."""
    try:
        with file.open() as held:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _clear(folder: Path) -> None:
    """Remove a folder, its lock last, so that the next sweep finishes a removal that is killed."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            elif entry.name != LOCK:
                os.unlink(entry.path)
    shutil.rmtree(folder, ignore_errors=True)
