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
        answered = time.monotonic()
        while not over.wait(EVERY_S):
            trouble = _trouble(address)
            if trouble is None:
                answered = time.monotonic()
            elif time.monotonic() - answered >= LOST_S:
                if not over.is_set():
                    lost(f"the cluster's head does not answer at {address}: {trouble}")
                return

    threading.Thread(target=watch, name="head-watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _trouble(address: str) -> str | None:
    """Why nobody can connect; None where somebody listens."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return None
