"""Runs work in any thread, also beside an event loop, and stops it.

In the main thread SIGTERM and SIGHUP stop the work as Ctrl-C does. Other threads get no signals, so
there the caller that waits stops the work (`outside_loops`, `in_thread`).

Invariant: work that is stopped closes what it opened before its call ends. Committed shards stay.
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
"""Set when SIGTERM or Ctrl-C came, which go to the whole process group, a private head included."""


class _Stops:
    """Stops the work of one thread."""

    def __init__(self) -> None:
        self._asked = False
        self._stops: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Stop the work now, or at its next `check_stopped`."""
        with self._lock:  # while it is held, no loop that a stop calls into can end
            self._asked = True
            for stop in self._stops:
                stop()

    def check(self) -> None:
        """Raise KeyboardInterrupt if the work was told to stop."""
        if self._asked:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def by(self, stop: Callable[[], object] | None) -> Iterator[None]:
        """Within this block, stop the work by calling `stop`."""
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
    """Run work that starts event loops: in this thread, or in another if a loop runs here.

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
    """Run work that starts event loops in a thread, while this loop goes on.

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
    """Make a function callable also beside a running loop (see `outside_loops`)."""

    @wraps(work)
    def call(*args: Given.args, **named: Given.kwargs) -> Result:
        return outside_loops(partial(work, *args, **named))

    return call


def awaitable(work: Callable[Given, Result]) -> Callable[Given, Coroutine[Any, Any, Result]]:
    """Make a function awaitable (see `in_thread`)."""

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
        except BaseException as error:  # noqa: BLE001 - the waiting caller raises it
            done.set_exception(error)

    threading.Thread(target=run, name="stepmill", daemon=True).start()
    return stops, done


def check_stopped() -> None:
    """Raise KeyboardInterrupt if the work of this thread was told to stop."""
    if stops := _STOPS.get():
        stops.check()


@contextlib.contextmanager
def terminable(
    stop: Callable[[], object] | None = None, told: Callable[[], object] | None = None
) -> Iterator[None]:
    """Let SIGTERM, and SIGHUP unless it is ignored (`nohup`), stop the work as Ctrl-C does: by
    KeyboardInterrupt, or by `stop`, called from a thread.

    `told` is called first, whatever asks the work to stop. Both are called at once, even while
    this thread waits in a call that ignores signals, as Ray's do.
    """
    if threading.current_thread() is not threading.main_thread():
        with (_STOPS.get() or _Stops()).by(_both(told, stop)):
            yield
        return

    def interrupt(number: int, frame: object) -> None:
        told_to_stop()
        if stop is None:
            raise KeyboardInterrupt

    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    threading.Thread(target=_hear, args=(ours, stop, told), name="signals", daemon=True).start()
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


def _both(
    first: Callable[[], object] | None, then: Callable[[], object] | None
) -> Callable[[], object] | None:
    calls = [call for call in (first, then) if call is not None]
    return (lambda: [call() for call in calls]) if calls else None


def _hear(
    signals: socket.socket,
    stop: Callable[[], object] | None,
    told: Callable[[], object] | None,
) -> None:
    """Read signal numbers from the socket and act on each at once."""
    with signals:
        while numbers := signals.recv(64):
            terminate = signal.SIGTERM in numbers or signal.SIGHUP in numbers
            if terminate or signal.SIGINT in numbers:
                told_to_stop()
                if told is not None:
                    told()
            if terminate and stop is not None:
                stop()


def told_to_stop() -> None:
    """Note that a signal told this process to stop."""
    _told_to_stop.set()


def was_told_to_stop() -> bool:
    """Whether a signal told this process to stop (`told_to_stop`)."""
    return _told_to_stop.is_set()
