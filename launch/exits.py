"""How a command ends that did not succeed: one message, one exit code.

Invariant: an infrastructure's end says that the same command continues, wherever it comes from.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import typer
from rich.console import Console

from storage.errors import RunStopped, StepmillError

INFRASTRUCTURE, INTERRUPTED = 3, 130
_told_to_stop = threading.Event()
"""Whether SIGTERM or Ctrl-C came: they come to a whole group, and so to a private head too."""


def failed(error: StepmillError, code: int) -> int:
    """Say it; returns the exit code."""
    again = "" if code == 2 else " (what is committed stays; the same command continues)"
    typer.echo(f"stepmill: {error}{again}", err=True)
    return code


def head_lost(reason: str) -> None:
    """End this process, from any thread: without its head no call into Ray comes back."""
    Console(stderr=True).show_cursor()  # a live display may have hidden it
    if _told_to_stop.is_set():
        code = INTERRUPTED
        typer.echo("stepmill: interrupted; the same command continues", err=True)
    else:
        code = failed(RunStopped(reason), INFRASTRUCTURE)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextlib.contextmanager
def terminable(stop: Callable[[], object] | None = None) -> Iterator[None]:
    """Let SIGTERM stop the work as Ctrl-C does: by `stop`, called from a thread, or by raising
    KeyboardInterrupt.

    It is known at once, also while this thread waits in a call that heeds no signal (Ray's, of a
    head that got the same one).
    """

    def interrupt(number: int, frame: object) -> None:
        told_to_stop()
        if stop is None:
            raise KeyboardInterrupt

    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    threading.Thread(target=_hear, args=(ours, stop), name="signals", daemon=True).start()
    before = signal.signal(signal.SIGTERM, interrupt)
    fd_before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd_before)
        signal.signal(signal.SIGTERM, before)
        theirs.close()
        sys.stderr.flush()


def _hear(signals: socket.socket, stop: Callable[[], object] | None) -> None:
    """Read the numbers of the signals that come, as soon as they come."""
    with signals:
        while numbers := signals.recv(64):
            if signal.SIGTERM in numbers or signal.SIGINT in numbers:
                told_to_stop()
            if signal.SIGTERM in numbers and stop is not None:
                stop()


def told_to_stop() -> None:
    """Whatever ends from now on ends because of that."""
    _told_to_stop.set()
