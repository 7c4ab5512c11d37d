"""Ties a child process to the life of the process that started it.

Invariant: when the owner is gone, however it went (also by SIGKILL), the child is killed by the
kernel; nothing has to be noticed or cleaned up by anybody.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(owner: int | None = None) -> None:
    """Have the kernel kill this process when the thread that started it ends. Linux only.

    `owner`: the process that started it, where that was not done by multiprocessing.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if owner is None and (parent := multiprocessing.parent_process()) is not None:
        owner = parent.pid
    if owner is not None and os.getppid() != owner:
        os._exit(1)  # the owner was gone before the signal was armed
