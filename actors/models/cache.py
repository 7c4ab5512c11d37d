"""What every download of a model keeps to: one at a time on a machine, and only where it fits.

Invariant: of several processes of one machine that want the same model, one downloads it and the
others wait until it is there; a process that is killed lets the next one in.
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
"""Left free on the disk beside a model."""
LOOK_S = 1.0

Tell = Callable[[int, int], None]
"""Told bytes that have come and bytes that are to come; (0, 0) while another process downloads."""


def quiet(done: int, total: int) -> None:
    """For whoever shows nothing."""


def cache_folder() -> Path:
    """Where models from stores are kept on this machine: $STEPMILL_CACHE, or the user's cache."""
    user = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stepmill"
    return Path(os.environ.get("STEPMILL_CACHE", user)).absolute() / "models"


@contextmanager
def alone(lock: Path, tell: Tell) -> Iterator[None]:
    """Hold a file's lock, waiting for it as long as it takes.

    Raises EngineRefused where it can't be made.
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
    """Raise EngineRefused where a disk has no room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        raise EngineRefused(
            f"{what} needs {needed / GB:.1f} GB in {folder}, which has {free / GB:.1f} GB free: "
            "make room there, or set HF_HOME and STEPMILL_CACHE to a larger disk"
        )


class Telling:
    """Passes on bytes, at most once a second and at the end."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell = tell
        self._total = total
        self._done = 0
        self._last = time.monotonic()

    def moved(self, size: int) -> None:
        """So many more have come."""
        self.at(self._done + size)

    def at(self, done: int) -> None:
        """So many have come in all."""
        self._done = min(done, self._total)
        if self._done == self._total or time.monotonic() - self._last >= LOOK_S:
            self._last = time.monotonic()
            self._tell(self._done, self._total)
