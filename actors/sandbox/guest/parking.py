"""Stops every thread of a session between two blocks, and lets them go on.

A stop by SIGSTOP is within reach of what is stopped: SIGCONT of a timer, or of a process that the
signal missed, undoes it. So the supervisor traces the threads instead. A traced thread goes on when
its tracer says so, and dies with it.

Invariant: after `park` no thread of the session runs its own code until `resume`. Signals that came
meanwhile are delivered then.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import time

from . import arena
from .confinement import libc

SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
OPTIONS = 0x100000 | 2 | 4 | 8
"""Die with the tracer; a thread or process that is begun meanwhile is traced from its beginning."""
WITHIN = 2.0
"""Seconds in which all threads can be traced, or let go; many make more of their kind meanwhile."""
WALL = 0x40000000

trace = libc.ptrace
trace.restype = ctypes.c_long
trace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


class Parking:
    """The threads of one session that are held."""

    def __init__(self, spared: int) -> None:
        """`spared`: a process of ours among the session's, which goes on; 0: none."""
        self._spared = {os.getpid(), spared}
        self._signalled = False
        self._seized: set[int] = set()

    def park(self) -> bool:
        """Hold all; False where some could not be held in time."""
        give_up = time.monotonic() + WITHIN
        while free := self._threads(held=False):
            for tid in free:
                if trace(SEIZE, tid, 0, OPTIONS) == 0:
                    trace(INTERRUPT, tid, 0, 0)
                    self._seized.add(tid)
                elif ctypes.get_errno() == errno.EPERM and self._is_held(tid) is False:
                    # Tracing is not permitted here (a setting of the kernel's): stop what listens.
                    self._signalled = True
                    tell_all(signal.SIGSTOP)
                    return True
            if time.monotonic() > give_up:
                return False
        return True

    def resume(self) -> bool:
        """Let all go on; False where some could not be let go in time."""
        if self._signalled:
            self._signalled = False
            tell_all(signal.SIGCONT)
        give_up = time.monotonic() + WITHIN
        while held := self._threads(held=True):
            self._seized -= {tid for tid in held if _let_go(tid)}
            if time.monotonic() > give_up:
                return False
        self._seized.clear()
        return True

    def _threads(self, held: bool) -> list[int]:
        """Living threads of the session that are held, or those that are not."""
        found: list[int] = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) not in self._spared:
                with contextlib.suppress(OSError):
                    found += map(int, os.listdir(f"/proc/{name}/task"))
        return [tid for tid in found if self._is_held(tid) is held]

    def _is_held(self, tid: int) -> bool | None:
        """Whether a thread is traced; None where it has ended."""
        try:
            if arena.numbers_of(f"/proc/{tid}/stat")[0] in (b"Z", b"X"):
                return None
        except OSError:
            return None
        tracer = arena.value_in(f"/proc/{tid}/status", b"\nTracerPid:")
        return tid in self._seized or tracer == os.getpid()


def _let_go(tid: int) -> bool:
    """Let a thread go on, with the signal that it was about to get; False where it is not there
    yet: it has still to come out of the kernel.
    """
    try:
        pid, status = os.waitpid(tid, os.WNOHANG | WALL)
    except ChildProcessError:
        return True
    if pid == 0:
        return False
    if not os.WIFSTOPPED(status):
        return True
    about = 0 if status >> 16 else os.WSTOPSIG(status)
    trace(DETACH, tid, 0, about)
    return True


def tell_all(number: int) -> None:
    """Send a signal to every process of the box but the supervisor."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, number)
