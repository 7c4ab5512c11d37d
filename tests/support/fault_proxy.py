"""An HTTP proxy in front of an S3 server, through which anything can go wrong on order.

A `Fault` says which requests it strikes (method, part of the path), how often, and what happens.
The proxy forwards headers as they came, the signed Host included, so that signatures hold.

Invariant: what a fault does to a request is exactly its row in `FAULTS`; all else passes unchanged.
"""

from __future__ import annotations

import asyncio
import base64
import random
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5

import aiohttp
from aiohttp import web
from yarl import URL

FAULTS = {
    "lost request": "the connection breaks, the server hears nothing",
    "lost reply": "the server applies the request, the connection breaks",
    "late request": "the connection breaks; the request arrives when `deliver` is called",
    "500 after apply": "the server applies the request, the client is told 500",
    "503": "SlowDown without forwarding",
    "409": "ConditionalRequestConflict without forwarding",
    "403": "AccessDenied without forwarding",
    "twice": "the request is applied twice, the second answer is returned",
    "cut": "half of the reply, then the connection breaks",
    "short": "half of the reply, passed off as all of it",
    "altered": "one byte of the object differs (a listing has no digest to tell)",
    "portal": "200 with a page and no ETag, without forwarding",
    "lying put": "the server stores other bytes, and answers as it does",
    "endless": "each page of a listing names itself as the next",
    "nameless": "a page of a listing says that there are more, and not where",
    "stalled": "no answer at all, until the client gives up",
    "trickling": "the answer comes byte by byte, from its first line on",
    "dripping": "its first half comes at once, the rest byte by byte",
    "slow": "the answer comes at 40 kB a second",
    "flooding": "a hundred times 100 kB of nothing in the place of the answer",
    "unmeasured": "the answer does not say how long it is",
    "stripped": "the condition If-None-Match is taken away",
}
BYTE_S = 0.05
"""Seconds between two bytes that trickle: no client's patience for a single one."""
STREAMS: dict[str, Callable[[bytes], tuple[list[bytes], float]]] = {
    "trickling": lambda raw: ([raw[i : i + 1] for i in range(len(raw))], BYTE_S),
    "dripping": lambda raw: (
        [raw[: len(raw) // 2], *(raw[i : i + 1] for i in range(len(raw) // 2, len(raw)))],
        BYTE_S,
    ),
    "slow": lambda raw: ([raw[i : i + 2_000] for i in range(0, len(raw), 2_000)], 0.05),
    "flooding": lambda raw: (
        [b"HTTP/1.1 200 OK\r\n\r\n", *[b" " * 100_000] * 100, raw], 0.0,
    ),
}  # fmt: skip
"""How the bytes of an answer are sent: pieces, and seconds between them."""
WEATHER = [
    "lost request", "lost reply", "late request", "500 after apply", "503", "409", "twice",
    "cut", "short", "altered",
]  # fmt: skip


@dataclass
class Fault:
    """Strikes the next `times` requests of a kind."""

    kind: str
    method: str = ""
    path: str = ""
    times: float = 1

    def __post_init__(self) -> None:
        assert self.kind in FAULTS, self.kind

    def strikes(self, request: web.Request) -> bool:
        return (
            self.times > 0 and self.method in ("", request.method) and self.path in request.raw_path
        )


@dataclass
class FaultProxy:
    """A running proxy."""

    upstream: str
    faults: list[Fault] = field(default_factory=list)
    chance: random.Random | None = None
    """With a seed: three of ten requests meet some weather."""
    spared: tuple[str, ...] = ()
    """Methods that no weather meets."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    endpoint: str = ""
    _late: list[Callable[[], Awaitable[object]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _session: aiohttp.ClientSession | None = None
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def count(self, method: str, path: str) -> int:
        """Requests of a kind that came so far."""
        return sum(made == method and path in at for made, at in self.requests)

    def deliver(self) -> None:
        """Let the late requests arrive."""
        with self._lock:
            late, self._late = self._late, []
        for send in late:
            asyncio.run_coroutine_threadsafe(_awaited(send), self._loop).result(30)

    def _chosen(self, request: web.Request) -> str | None:
        with self._lock:
            self.requests.append((request.method, request.raw_path))
            for fault in self.faults:
                if fault.strikes(request):
                    fault.times -= 1
                    return fault.kind
            spared = self.chance is None or request.method in self.spared
            if self.chance is not None and not spared and self.chance.random() < 0.3:
                kind = self.chance.choice(WEATHER)
                if request.method == "PUT" or kind not in ("late request", "twice"):
                    return kind
        return None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        kind = self._chosen(request)
        headers = {name: value for name, value in request.headers.items() if name != "Expect"}
        if kind == "stripped":
            headers.pop("If-None-Match", None)

        if kind == "lying put":
            body = b"?" + body[1:]
            headers["Content-MD5"] = base64.b64encode(md5(body).digest()).decode()

        async def forward() -> tuple[int, dict[str, str], bytes]:
            assert self._session is not None
            url = URL(self.upstream + request.raw_path, encoded=True)
            async with self._session.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            ) as reply:
                kept = {
                    name: value
                    for name, value in reply.headers.items()
                    if name.lower() not in ("transfer-encoding", "connection", "date", "server")
                }
                return reply.status, kept, await reply.read()

        refusals = {"503": "SlowDown", "409": "ConditionalRequestConflict", "403": "AccessDenied"}
        if kind in refusals:
            return _error(int(kind or 0), refusals[kind or ""])
        if kind == "stalled":
            await asyncio.Event().wait()
        if kind == "portal":
            page = "<html>Please sign in</html>"
            return web.Response(text=page, content_type="text/html")
        if kind == "late request":
            with self._lock:
                self._late.append(forward)
        if kind in ("lost request", "late request"):
            return _broken(request)
        status, kept, data = await forward()
        if kind == "twice":
            status, kept, data = await forward()
        if kind == "lost reply":
            return _broken(request)
        if kind == "500 after apply":
            return _error(500, "InternalError")
        object_read = request.method == "GET" and "list-type" not in request.raw_path
        if kind == "altered" and data and object_read and status == 200:
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        if kind in ("endless", "nameless") and status == 200:
            more = "<NextContinuationToken>again</NextContinuationToken>"
            said = data.replace(b"<IsTruncated>false", b"<IsTruncated>true")
            said = re.sub(b"<NextContinuationToken>.*?</NextContinuationToken>", b"", said)
            at = said.index(b"<IsTruncated>")
            data = said[:at] + (more.encode() if kind == "endless" else b"") + said[at:]
            kept["Content-Length"] = str(len(data))
        if kind == "short" and request.method == "GET" and status == 200:
            data = data[: len(data) // 2]
            kept["Content-Length"] = str(len(data))
        if kind in STREAMS:
            pieces, every_s = STREAMS[kind](_raw(status, kept, data))
            return await _streamed(request, pieces, every_s)
        if kind == "unmeasured":
            response = web.StreamResponse(status=status, headers=_without_length(kept))
            response.enable_chunked_encoding()
            await response.prepare(request)
            await response.write(data)
            return response
        if kind == "cut" and len(data) > 1:
            response = web.StreamResponse(status=status, headers=kept)
            await response.prepare(request)
            await response.write(data[: len(data) // 2])
            return _broken(request)
        response = web.Response(status=status, headers=kept, body=data)
        return response

    async def _serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        connector = aiohttp.TCPConnector(limit=256)
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(
            connector=connector, auto_decompress=False, timeout=timeout
        ) as self._session:
            await site.start()
            host, port = runner.addresses[0][:2]
            self.endpoint = f"http://{host}:{port}"
            ready.set()
            await stop.wait()
            await runner.cleanup()


@contextmanager
def fault_proxy(
    upstream: str, seed: int | None = None, spared: tuple[str, ...] = ()
) -> Iterator[FaultProxy]:
    """A proxy in a thread of its own."""
    chance = None if seed is None else random.Random(seed)
    proxy = FaultProxy(upstream, chance=chance, spared=spared)
    ready, stop = threading.Event(), asyncio.Event()
    serving = proxy._serve(ready, stop)
    thread = threading.Thread(target=proxy._loop.run_until_complete, args=(serving,), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield proxy
    finally:
        proxy._loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        proxy._loop.close()


async def _awaited(send: Callable[[], Awaitable[object]]) -> object:
    return await send()


def _broken(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _error(status: int, code: str) -> web.Response:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>on order</Message></Error>"
    return web.Response(status=status, text=body, content_type="application/xml")


def _raw(status: int, headers: dict[str, str], body: bytes) -> bytes:
    """An answer as it goes over the wire."""
    kept = {**_without_length(headers), "Content-Length": str(len(body))}
    lines = [f"HTTP/1.1 {status} OK", *(f"{name}: {value}" for name, value in kept.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _without_length(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "content-length"}


async def _streamed(request: web.Request, pieces: list[bytes], every_s: float) -> web.Response:
    """Write to the connection itself, until the client has gone."""
    for piece in pieces:
        if request.transport is None or request.transport.is_closing():
            break
        request.transport.write(piece)
        await asyncio.sleep(every_s)
    return _broken(request)
