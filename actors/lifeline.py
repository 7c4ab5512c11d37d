"""Ties a child process to the life of the process that started it.

Invariant: when the owner ends, also by SIGKILL, the kernel kills the child. No other process has to
notice or clean up.
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

    `owner`: id of the process that started it; None: multiprocessing knows it.
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
