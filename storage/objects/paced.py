"""Bounds how slowly a whole HTTP exchange of an S3 client may go, and how much may come of it.

A socket's timeout starts again with every byte, so that a reply of one byte every few seconds would
never end. Here an exchange may stand still for a number of seconds in total. Bytes that are sent or
received give time back at `FLOOR_BYTES_S`, so that a large object over a slow line is not cut.

Invariant: an exchange ends at most its `still_s` seconds after it last went at the floor rate,
whatever the server sends. A rate above the floor is never cut.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

FLOOR_BYTES_S = 10_000
"""Bytes a second below which an exchange counts as standing still: a slow line, shared by many."""
MOST_UNASKED = 16 << 20
"""Bytes of a reply beside an object's own. A page of a listing has some hundred kilobytes."""
PIECE = 16 * 1024
"""Bytes given to a socket at once: what is sent counts as it goes."""
_HERE = threading.local()


class Pace:
    """The time and the bytes that one exchange has left."""

    def __init__(self, still_s: float) -> None:
        self._still_s = still_s
        self._since = time.monotonic()
        self._room = MOST_UNASKED
        self.heard = False
        """Whether bytes of an answer came."""

    def left(self) -> float:
        """Seconds. Raises TimeoutError where there are none."""
        left = self._since + self._still_s - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"under {FLOOR_BYTES_S:,} bytes a second")
        return left

    def moved(self, size: int) -> None:
        """Give back the time that so many bytes may take; none is saved up."""
        self._since = min(time.monotonic(), self._since + size / FLOOR_BYTES_S)

    def came(self, size: int) -> None:
        """Count bytes of the reply. Raises ConnectionAbortedError where they are too many."""
        self.moved(size)
        self.heard = self.heard or size > 0
        self._room -= size
        if self._room < 0:
            raise ConnectionAbortedError("the reply has no end")

    def expect(self, size: int) -> None:
        """Let so many more bytes come."""
        self._room += size


@contextmanager
def exchange(still_s: float) -> Iterator[Pace]:
    """Bound what this thread's clients send and receive meanwhile."""
    pace = _HERE.pace = Pace(still_s)
    try:
        yield pace
    finally:
        del _HERE.pace


class _Paced:
    """A connection whose socket keeps the pace of the exchange that goes on."""

    sock: Any

    def request(self, *arguments: Any, **options: Any) -> None:
        """Begin an exchange."""
        self.pace: Pace = _HERE.pace
        super().request(*arguments, **options)  # type: ignore[misc]

    def connect(self) -> None:
        """Connect, and pace the socket."""
        super().connect()  # type: ignore[misc]
        self.sock = _Socket(self.sock, self)

    def _tunnel(self) -> None:
        """Have a proxy connect us, at the pace of the exchange; TLS then needs the bare socket."""
        self.pace = _HERE.pace
        bare, self.sock = self.sock, _Socket(self.sock, self)
        super()._tunnel()  # type: ignore[misc]
        self.sock = bare


class _Connection(_Paced, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _SecureConnection(_Paced, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _Pool(AWSHTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(AWSHTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def paced(client: Any) -> Any:
    """Return a boto3 client whose every request has to be made inside of an `exchange`."""
    # botocore has no other place for a connection of one's own
    client._endpoint.http_session._pool_classes_by_scheme.update(http=_Pool, https=_SecurePool)
    return client


class _Socket:
    """A socket, or one with TLS, that waits no longer than its connection's pace allows."""

    def __init__(self, sock: Any, connection: _Paced) -> None:
        self._sock = sock
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: Any) -> None:
        """Send piece by piece."""
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            piece = view[start : start + PIECE]
            self._sock.settimeout(self._connection.pace.left())
            self._sock.sendall(piece)
            self._connection.pace.moved(len(piece))

    def makefile(self, mode: str, buffering: int = -1) -> Any:
        """A file to read the reply from."""
        raw = _Reply(self._sock.makefile(mode, 0), self._sock, self._connection.pace)
        return raw if buffering == 0 else io.BufferedReader(raw)


class _Reply(io.RawIOBase):
    """The bytes of one reply."""

    def __init__(self, raw: Any, sock: Any, pace: Pace) -> None:
        self._raw, self._sock, self._pace = raw, sock, pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._pace.left())
        size: int | None = self._raw.readinto(buffer)
        self._pace.came(size or 0)
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()
