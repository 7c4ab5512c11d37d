"""The rules of every download of a model: one at a time on a machine, and only if it fits.

Invariant: if several processes of a machine need the same model, one downloads it and the others
wait. If that process is killed, the next one downloads.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from storage.errors import EngineRefused

GB = 1_000_000_000
SPARE_BYTES = GB
"""Bytes that a download must leave free on the disk."""
LOOK_S = 1.0

Tell = Callable[[int, int], None]
"""Called with (bytes done, bytes in all); with (0, 0) while another process downloads."""


def quiet(done: int, total: int) -> None:
    """A `Tell` that shows nothing."""


def cache_folder() -> Path:
    """Folder of models fetched from stores: in $STEPMILL_CACHE, or in the user's cache."""
    user = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stepmill"
    return Path(os.environ.get("STEPMILL_CACHE", user)).absolute() / "models"


@contextmanager
def alone(lock: Path, tell: Tell) -> Iterator[None]:
    """Hold a file's lock; wait for it as long as it takes.

    Raises EngineRefused if the file can't be made.
    """
    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        while not _got(held):
            tell(0, 0)
    except OSError as error:
        raise EngineRefused(
            f"{lock.parent} can't be written ({error.strerror or error}): set HF_HOME and "
            "STEPMILL_CACHE to folders that can"
        ) from error
    try:
        yield
    finally:
        held.release()


def _got(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=LOOK_S)
    except Timeout:
        return False
    return True


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raise EngineRefused if the folder's disk lacks room for the `needed` bytes of `what`."""
    free = shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        raise EngineRefused(
            f"{what} needs {needed / GB:.1f} GB in {folder}, which has {free / GB:.1f} GB free: "
            "make room there, or set HF_HOME and STEPMILL_CACHE to a larger disk"
        )


class Telling:
    """Passes progress on to a `Tell`, at most once a second and at the end."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell = tell
        self._total = total
        self._done = 0
        self._last = time.monotonic()

    def moved(self, size: int) -> None:
        """Note that `size` more bytes have come."""
        self.at(self._done + size)

    def at(self, done: int) -> None:
        """Note that `done` bytes have come in all."""
        self._done = min(done, self._total)
        if self._done == self._total or time.monotonic() - self._last >= LOOK_S:
            self._last = time.monotonic()
            self._tell(self._done, self._total)
