"""Watches the head of a Ray cluster from a thread of its own, and a private cluster's folder.

If the head is gone, Ray's calls wait in every thread, and after a minute they end the process with
code 1. A caller that is stuck in one can't be woken. So the callback `lost` has to end the process
itself. A head whose folder somebody cleared away (a cleaner of /tmp) still answers, but nothing
else can reach its node.

Invariant: one missed answer means nothing. A head is lost when it has not answered for `LOST_S`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

EVERY_S = 2.0
ANSWER_S = 5.0
LOST_S = 20.0


@contextlib.contextmanager
def head_watched(
    address: str, lost: Callable[[str], None], folder: Path | None = None
) -> Iterator[None]:
    """Within this block, call `lost` once with the reason if `address` (host:port) is lost.

    `folder`: of a private cluster, which is lost with its node's socket in it.
    """
    over = threading.Event()

    def look() -> str | None:
        return _trouble(address) or (_cleared(folder) if folder else None)

    def watch() -> None:
        trouble = lasting_trouble(look, over.wait)
        if trouble is not None and not over.is_set():
            lost(trouble)

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
    """Call `look` until it has reported trouble for `LOST_S` seconds; return the last report.

    `over` waits for the given seconds, then says whether the watch is over. If so, return None.
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
    """That a connection fails, and why; None if it succeeds."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except OSError as error:
        why = error.strerror or str(error)
        return f"the cluster's head does not answer at {address}: {why}"
    return None


def _cleared(folder: Path) -> str | None:
    """That the node's socket is gone from a cluster's folder; None if it is there."""
    if any(folder.glob("*/session_*/sockets/raylet")):
        return None
    return f"{folder}, where the Ray cluster of this command lives, was cleared away"
