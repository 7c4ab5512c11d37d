"""A process namespace for each solution of a box, beside the supervisor's own.

Invariant: its process 1 does nothing but wait for orphans, so that what they used is counted.
"""

from __future__ import annotations

import ctypes
import os
import signal

from .confinement import CLONE_NEWPID, check, libc


def open_pid_namespace() -> int:
    """The next children live in a new process namespace; return its process 1, which only reaps."""
    check(libc.unshare(CLONE_NEWPID), "unshare")
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
            os.closerange(0, 1 << 20)
            while True:
                try:
                    os.waitpid(-1, 0)
                except ChildProcessError:
                    signal.sigwait({signal.SIGCHLD})
        finally:
            os._exit(0)
    return pid


def leave_pid_namespace() -> None:
    """The next children live in the supervisor's own process namespace again."""
    number = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        check(libc.setns(number, ctypes.c_int(CLONE_NEWPID)), "setns")
    finally:
        os.close(number)
