"""The gate of a server: who may ask, how much, and how many at once.

Invariant: nothing of a request is read beyond `most_body_bytes`, and nothing is computed for one
that lacks the token. A token is kept as its digest and compared in constant time; it is written
nowhere. At most `queue` solutions are in; what was let in is counted until it ends.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import math
import time
from collections import deque
from collections.abc import Iterator

from starlette.requests import ClientDisconnect, Request

from workflows.serving.troubles import Trouble

RATE_S = 60.0
"""Seconds over which the rate is counted that Retry-After follows."""
LAST = 10_000
"""Most solutions that the rate is counted over."""
LONGEST_AGAIN_S = 60


def digest_of(token: str) -> str:
    """What a server keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def check_token(header: str | None, digest: str | None) -> None:
    """Let a request pass whose `Authorization` header has the token; `digest` None: any.

    `Bearer TOKEN`, or `Basic` with it as password, which a URL http://any:TOKEN@HOST makes. Raises
    Trouble.
    """
    if digest is None:
        return
    change = "send the header `Authorization: Bearer TOKEN`"
    if not header:
        raise Trouble(401, "token_missing", "this server wants a token", change)
    if not hmac.compare_digest(digest_of(_token(header)), digest):
        raise Trouble(401, "token_wrong", "the token is not this server's", change)


def _token(header: str) -> str:
    scheme, _, given = header.partition(" ")
    if scheme.lower() != "basic":
        return given.strip()
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


async def body_of(request: Request, most: int) -> bytes:
    """The body of a request. Raises Trouble for a larger one, as soon as that is known."""
    said = request.headers.get("content-length", "0")
    if said.isdecimal() and int(said) > most:
        raise too_large(most)
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > most:
                raise too_large(most)
    except ClientDisconnect:
        raise Trouble(499, "gone", "the client went away", "stay until the answer") from None
    return bytes(body)


def too_large(most: int) -> Trouble:
    """The refusal of a body."""
    change = "send fewer solutions in a request, or serve with a larger serve.most_body_bytes"
    return Trouble(413, "too_large", f"the body has more than {most:,} bytes", change)


class Room:
    """Counts the solutions that are in."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self.closing = False
        self._ended: deque[float] = deque(maxlen=LAST)
        self._empty = asyncio.Event()
        self._empty.set()

    @contextlib.contextmanager
    def entered(self, solutions: int) -> Iterator[None]:
        """Hold room for so many solutions. Raises Trouble where there is none."""
        if self.closing:
            raise Trouble(503, "stopping", "the server is stopping", "ask another one", 30)
        if solutions > self.most:
            change = f"send at most {self.most} in a request (serve.queue)"
            raise Trouble(422, "too_many", f"{solutions} solutions", change)
        if self.taken + solutions > self.most:
            change = "ask again after Retry-After seconds, or serve with more replicas"
            said = f"{self.taken} solutions are waiting or at work, and {self.most} may"
            raise Trouble(429, "busy", said, change, self.again_s(solutions))
        self.taken += solutions
        self._empty.clear()
        try:
            yield
        finally:
            self.taken -= solutions
            self._ended.extend([time.monotonic()] * solutions)
            if not self.taken:
                self._empty.set()

    def again_s(self, solutions: int) -> int:
        """Seconds until so many solutions have probably ended, by the rate of the last minute."""
        now = time.monotonic()
        while self._ended and self._ended[0] < now - RATE_S:
            self._ended.popleft()
        lacking = self.taken + solutions - self.most
        if not self._ended:
            return LONGEST_AGAIN_S
        seconds = lacking * (now - self._ended[0]) / len(self._ended)
        return min(LONGEST_AGAIN_S, max(1, math.ceil(seconds)))

    async def drained(self) -> None:
        """Let nothing in from now on, and return once nothing is in."""
        self.closing = True
        await self._empty.wait()
