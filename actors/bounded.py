"""Ends a computation of this thread that takes too much of the processor.

Templates are programs of somebody else's: they can loop for ever. One thread of the process looks
at the processor time of those that render, and raises an error in a thread that has used too much.
A machine that is slow, or busy with other things, ends nothing.

Invariant: outside of `bounded` no thread is interrupted.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

LOOK_S = 0.2


class TooLong(Exception):
    """A computation used more than its time."""


class _Interrupt(BaseException):
    """Raised in the thread that computes; nothing of a template catches it."""


class _Watch:
    """The thread that looks, and what it looks at: thread -> processor time at which it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._ends: dict[int, float] = {}
        self._idle = True
        self._thread: threading.Thread | None = None

    def begin(self, seconds: float) -> int:
        me = threading.get_ident()
        with self._lock:
            self._ends[me] = time.thread_time() + seconds
            if self._thread is None or not self._thread.is_alive():  # of a parent before a fork
                self._thread = threading.Thread(target=self._look, name="bounded", daemon=True)
                self._thread.start()
            elif self._idle:
                self._news.notify()
            self._idle = False
        return me

    def end(self, me: int) -> None:
        with self._lock:  # not by way of the condition, whose Python an interrupt leaves locked
            self._ends.pop(me, None)

    def _look(self) -> None:
        while True:
            with self._lock:
                for thread, end in list(self._ends.items()):
                    if time.clock_gettime(time.pthread_getcpuclockid(thread)) > end:
                        del self._ends[thread]
                        identity, error = ctypes.c_ulong(thread), ctypes.py_object(_Interrupt)
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, error)
                if not self._ends:
                    self._idle = True
                self._news.wait(None if self._idle else LOOK_S)


_WATCH = _Watch()


def bounded(work: Callable[[], Result], seconds: float) -> Result:
    """What `work` returns. Raises TooLong after so many seconds of processor time of its thread.

    Only what Python interprets can be ended: one call of a function in C goes on to its end.
    """
    try:
        me = _WATCH.begin(seconds)
        try:
            return work()
        finally:
            _WATCH.end(me)
    except _Interrupt:
        raise TooLong(f"it used more than {seconds:g} seconds of the processor") from None
