"""A folder for an engine's sockets that outlives its owner at most until the next one opens.

vLLM leaves its sockets behind, and an owner that is killed leaves its folder.

Invariant: a folder is removed only by its owner, or by somebody who got its lock, which the
kernel gives away when the owner is dead (in whichever process namespace it lived).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "stepmill-vllm-"
LOCK = "owner.lock"
LONGEST_BASE = 40
"""A socket's path may have 107 bytes, which a long TMPDIR alone can use up."""


class SocketFolder:
    """A folder in the temporary directory, locked while this process lives."""

    def __init__(self, base: Path | None = None) -> None:
        usual = tempfile.gettempdir()
        self._base = base or Path(usual if len(usual) <= LONGEST_BASE else "/tmp")
        sweep(self._base)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._base))
        self._lock = os.open(self.path / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Remove the folder and give up the lock. Idempotent."""
        if self._lock < 0:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1


def sweep(base: Path) -> None:
    """Remove the folders in `base` whose owners are dead."""
    for lock in base.glob(f"{PREFIX}*/{LOCK}"):
        try:
            held = os.open(lock, os.O_RDWR)
        except OSError:
            continue  # removed by its owner meanwhile, or not ours to touch
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(held)
