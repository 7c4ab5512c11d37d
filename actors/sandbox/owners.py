"""Who a sandbox belongs to, and whether that process is still there.

Invariant: an owner lives while the lock of its folder is held, whichever container it and whoever
looks are in. An owner whose temporary directory is another one than is seen here is never judged.
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
    """This process, in one word for a label or an argument."""
    folder = _folder().path
    return f"{_place(folder)}|{folder}"


def stay() -> None:
    """Keep the folder young: some machines clear old files from their temporary directory."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(_folder().path / LOCK)


def is_dead(mark: str) -> bool:
    """True where an owner was here and is no more; False where it lives or can't be judged."""
    place, _, folder = mark.partition("|")
    try:
        return place == _place(Path(folder)) and not is_held(Path(folder, LOCK))
    except OSError:  # another user's, or another container's temporary directory
        return False


def _place(folder: Path) -> str:
    """Identity of the directory that a folder is in, on this boot."""
    parent = folder.parent.stat()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{parent.st_dev}/{parent.st_ino}"
