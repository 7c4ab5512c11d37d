"""Marks a sandbox with its owner, and says whether that process still lives.

Invariant: an owner lives while the lock of its folder is held, in any container. An owner with
another temporary directory than this process's is never taken for dead.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from functools import cache
from pathlib import Path

from actors.owned_folder import LOCK, OwnedFolder, is_held


@cache
def _folder() -> OwnedFolder:
    # Its number is for people alone.
    folder = OwnedFolder(f"sandbox-{os.getpid()}")
    atexit.register(folder.remove)
    return folder


def mark() -> str:
    """One word that identifies this process, for a label or an argument."""
    folder = _folder().path
    return f"{_place(folder)}|{folder}"


def stay() -> None:
    """Touch the folder, because some machines delete old files from their temporary directory."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(_folder().path / LOCK)


def is_dead(mark: str) -> bool:
    """True if the owner has ended; False if it lives or its folder can't be seen from here."""
    place, _, folder = mark.partition("|")
    try:
        return place == _place(Path(folder)) and not is_held(Path(folder, LOCK))
    except OSError:  # another user's, or another container's temporary directory
        return False


def _place(folder: Path) -> str:
    """Identity of a folder's parent directory, since this boot."""
    parent = folder.parent.stat()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{parent.st_dev}/{parent.st_ino}"
