"""How work is told to stop, and how it finds a loop of its own, wherever it is called from.

In the main thread SIGTERM and SIGHUP stop it as Ctrl-C does. In another thread no signal arrives:
there it is stopped by whoever waits for it (`outside_loops`, `in_thread`).

Invariant: what is stopped closes what it opened before the call ends; what is committed stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextvars import ContextVar, copy_context
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")

_told_to_stop = threading.Event()
"""Whether SIGTERM or Ctrl-C came: they come to a whole group, and so to a private head too."""


class _Stops:
    """How the work of one thread is stopped."""

    def __init__(self) -> None:
        self._asked = False
        self._stops: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Stop it now, or at its next `check_stopped`."""
        with self._lock:  # while it is held, no loop that a stop calls into can end
            self._asked = True
            for stop in self._stops:
                stop()

    def check(self) -> None:
        """Raise KeyboardInterrupt where it was asked to stop."""
        if self._asked:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def by(self, stop: Callable[[], object] | None) -> Iterator[None]:
        """Stop it by this meanwhile."""
        with self._lock:
            self.check()
            if stop is not None:
                self._stops.append(stop)
        try:
            yield
        finally:
            with self._lock:
                if stop is not None:
                    self._stops.remove(stop)


_STOPS: ContextVar[_Stops | None] = ContextVar("stops", default=None)


def outside_loops(work: Callable[[], Result]) -> Result:
    """Do work that runs loops of its own: in this thread, or in one beside a loop that runs here.

    Ctrl-C stops the work, waits for its end and raises KeyboardInterrupt.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    stops, done = _begun(work)
    try:
        return done.result()
    except KeyboardInterrupt:
        stops.stop()
        with contextlib.suppress(BaseException):
            done.result()
        raise


async def in_thread(work: Callable[[], Result]) -> Result:
    """Do work that runs loops of its own while this loop goes on.

    Cancelling it stops the work and waits for its end.
    """
    stops, done = _begun(work)
    waiting = asyncio.wrap_future(done)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        stops.stop()
        with contextlib.suppress(BaseException):
            await waiting
        raise


def anywhere(work: Callable[Given, Result]) -> Callable[Given, Result]:
    """The same function, which may be called beside a running loop too (`outside_loops`)."""

    @wraps(work)
    def call(*args: Given.args, **named: Given.kwargs) -> Result:
        return outside_loops(partial(work, *args, **named))

    return call


def awaitable(work: Callable[Given, Result]) -> Callable[Given, Coroutine[Any, Any, Result]]:
    """The same function to be awaited (`in_thread`)."""

    @wraps(work)
    async def call(*args: Given.args, **named: Given.kwargs) -> Result:
        return await in_thread(partial(work, *args, **named))

    return call


def _begun(work: Callable[[], Result]) -> tuple[_Stops, Future[Result]]:
    stops, done = _Stops(), Future[Result]()
    context = copy_context()
    context.run(_STOPS.set, stops)

    def run() -> None:
        try:
            done.set_result(context.run(work))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            done.set_exception(error)

    threading.Thread(target=run, name="stepmill", daemon=True).start()
    return stops, done


def check_stopped() -> None:
    """Raise KeyboardInterrupt where the work of this thread was told to stop."""
    if stops := _STOPS.get():
        stops.check()


@contextlib.contextmanager
def terminable(stop: Callable[[], object] | None = None) -> Iterator[None]:
    """Let SIGTERM, and SIGHUP where nobody wanted it ignored (`nohup`), stop the work as Ctrl-C
    does: by `stop`, called from a thread, or by raising KeyboardInterrupt.

    It is known at once, also while this thread waits in a call that heeds no signal (Ray's, of a
    head that got the same one).
    """
    if threading.current_thread() is not threading.main_thread():
        with (_STOPS.get() or _Stops()).by(stop):
            yield
        return

    def interrupt(number: int, frame: object) -> None:
        told_to_stop()
        if stop is None:
            raise KeyboardInterrupt

    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    threading.Thread(target=_hear, args=(ours, stop), name="signals", daemon=True).start()
    heeded = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        heeded.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in heeded}
    fd_before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        theirs.close()
        sys.stderr.flush()


def _hear(signals: socket.socket, stop: Callable[[], object] | None) -> None:
    """Read the numbers of the signals that come, as soon as they come."""
    with signals:
        while numbers := signals.recv(64):
            asked = signal.SIGTERM in numbers or signal.SIGHUP in numbers
            if asked or signal.SIGINT in numbers:
                told_to_stop()
            if asked and stop is not None:
                stop()


def told_to_stop() -> None:
    """Whatever ends from now on ends because of that."""
    _told_to_stop.set()


def was_told_to_stop() -> bool:
    """Whether a signal told this process to stop."""
    return _told_to_stop.is_set()
