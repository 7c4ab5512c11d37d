"""Seats for grader processes: on a machine as many as it has processor cores, whoever owns them.

A seat is a file that is locked while its process lives. The kernel frees the lock of an owner that
was killed. Whoever waits for a seat holds a shared lock on another file, so that owners know of it.

Invariant: owners of one user that share a temporary directory have no more processes than seats.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOOK_S = 0.1
"""Seconds between two looks for a free seat."""
LEAST = 2


@dataclass(frozen=True, slots=True)
class Seats:
    """The seats of this machine."""

    folder: Path
    count: int

    @classmethod
    def here(cls) -> Seats:
        """One a core that this process may use, and two at least."""
        folder = Path(tempfile.gettempdir(), f"stepmill-graders-{os.geteuid()}")
        return cls(folder, max(LEAST, len(os.sched_getaffinity(0))))

    def take(self, over: threading.Event) -> int | None:
        """Wait for a seat; return the descriptor that is closed to leave it.

        None: the folder is another user's or can't be written, so that nothing is counted, or it
        is `over`.
        """
        try:
            self.folder.mkdir(0o700, exist_ok=True)
            if self.folder.is_symlink() or self.folder.stat().st_uid != os.geteuid():
                return None
            if (seat := self._free()) is not None:
                return seat
            with self._waiting():
                while not over.wait(LOOK_S):
                    if (seat := self._free()) is not None:
                        return seat
        except OSError:
            return None
        return None

    def wanted(self) -> bool:
        """Whether somebody waits for a seat."""
        try:
            held = self._locked("waiting")
        except OSError:
            return False
        if held is None:
            return True
        os.close(held)
        return False

    def _free(self) -> int | None:
        """A seat that nobody has, now taken."""
        seats = (self._locked(f"seat-{number}") for number in range(self.count))
        return next((seat for seat in seats if seat is not None), None)

    def _locked(self, name: str) -> int | None:
        """A file, locked now; None where somebody else has it."""
        held = self._opened(name)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(held)
            if isinstance(error, BlockingIOError):
                return None
            raise
        return held

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        held = self._opened("waiting")
        try:
            fcntl.flock(held, fcntl.LOCK_SH)
            yield
        finally:
            os.close(held)

    def _opened(self, name: str) -> int:
        return os.open(self.folder / name, os.O_CREAT | os.O_RDWR, 0o600)
