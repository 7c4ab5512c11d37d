"""Watches the head of a Ray cluster from a thread of its own.

Ray's calls wait for a head that is gone, in whatever thread they were made, and after a minute
they end the process with code 1. A caller that is stuck in one can't be woken: whoever is told
here has to end the process itself.

Invariant: one missed answer says nothing; only a head that has not answered for `LOST_S` is lost.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

EVERY_S = 2.0
ANSWER_S = 5.0
LOST_S = 20.0


@contextlib.contextmanager
def head_watched(address: str, lost: Callable[[str], None]) -> Iterator[None]:
    """Call `lost` with the reason, once, when nobody answers at `address` (host:port) any more."""
    over = threading.Event()

    def watch() -> None:
        trouble = lasting_trouble(lambda: _trouble(address), over.wait)
        if trouble is not None and not over.is_set():
            lost(f"the cluster's head does not answer at {address}: {trouble}")

    threading.Thread(target=watch, name="head-watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def lasting_trouble(
    look: Callable[[], str | None],
    over: Callable[[float], bool],
    clock: Callable[[], float] = time.monotonic,
) -> str | None:
    """Look again and again until there was trouble for `LOST_S`; returns the last.

    `over` waits for so many seconds; where it then says that watching is over, None is returned.
    """
    answered = clock()
    while not over(EVERY_S):
        trouble = look()
        if trouble is None:
            answered = clock()
        elif clock() - answered >= LOST_S:
            return trouble
    return None


def _trouble(address: str) -> str | None:
    """Why nobody can connect; None where somebody listens."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return None
