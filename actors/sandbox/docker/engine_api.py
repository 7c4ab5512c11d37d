"""A client of the Docker Engine API: HTTP over a socket, without blocking the event loop.

Invariant: an engine that does not answer, or answers with an error, is `SandboxUnavailable` with
the engine's own words; an attached stream closes with its connection, so that a container never
outlives an owner that was killed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlparse

from storage.errors import SandboxUnavailable

VERSION = "v1.40"
"""Spoken by every engine since 19.03."""
CONNECT_S, ANSWER_S = 5.0, 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of a reply."""

    status: int
    body: bytes

    def json(self) -> object:
        """Parse the body."""
        return json.loads(self.body)


class EngineApi:
    """One engine at one address: `unix:///path` or `tcp://host:port`."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        url = urlparse(self.address)
        if url.scheme == "unix":
            opening = asyncio.open_unix_connection(url.path, limit=1 << 20)
        elif url.scheme == "tcp" and url.hostname:
            opening = asyncio.open_connection(url.hostname, url.port or 2375, limit=1 << 20)
        else:
            raise SandboxUnavailable(f"docker host {self.address!r}: use unix:// or tcp://")
        try:
            return await asyncio.wait_for(opening, CONNECT_S)
        except (OSError, TimeoutError) as error:
            raise SandboxUnavailable(f"no Docker Engine at {self.address}: {error}") from error

    async def call(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: object = None,
        upload: AsyncIterator[bytes] | None = None,
        allow: tuple[int, ...] = (),
        timeout_s: float = ANSWER_S,
    ) -> Answer:
        """Make one request. Statuses of 400 and above that `allow` doesn't name are raised."""
        reader, writer = await self._connect()
        try:
            async with asyncio.timeout(timeout_s):
                content = b"" if body is None else json.dumps(body).encode()
                kind = "application/x-tar" if upload else "application/json"
                size = "Transfer-Encoding: chunked" if upload else f"Content-Length: {len(content)}"
                writer.write(_head(method, path, query, f"Content-Type: {kind}", size) + content)
                if upload is not None:
                    async for part in upload:
                        writer.write(b"%x\r\n%b\r\n" % (len(part), part))
                        await writer.drain()
                    writer.write(b"0\r\n\r\n")
                await writer.drain()
                status, headers = await _reply_head(reader)
                answer = Answer(status, await _reply_body(reader, headers))
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
            raise SandboxUnavailable(f"{method} {path}: {type(error).__name__} {error}") from error
        finally:
            writer.close()
        if answer.status >= 400 and answer.status not in allow:
            words = answer.body.decode("utf-8", "replace").strip()
            raise SandboxUnavailable(f"{method} {path}: {answer.status} {words}")
        return answer

    async def attach(self, container: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open the standard streams of a container that was created with an open stdin."""
        reader, writer = await self._connect()
        query = {"stream": "1", "stdin": "1", "stdout": "1", "stderr": "1"}
        path = f"/containers/{quote(container)}/attach"
        try:
            async with asyncio.timeout(ANSWER_S):
                writer.write(_head("POST", path, query, "Connection: Upgrade", "Upgrade: tcp"))
                status, _ = await _reply_head(reader)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
            writer.close()
            raise SandboxUnavailable(f"attach: {type(error).__name__} {error}") from error
        if status not in (101, 200):
            writer.close()
            raise SandboxUnavailable(f"attach: {status}")
        return reader, writer


def _head(method: str, path: str, query: dict[str, str] | None, *headers: str) -> bytes:
    target = f"/{VERSION}{path}" + (f"?{urlencode(query)}" if query else "")
    closing = () if any(h.startswith("Connection") for h in headers) else ("Connection: close",)
    lines = (f"{method} {target} HTTP/1.1", "Host: docker", *closing, *headers, "", "")
    return "\r\n".join(lines).encode()


async def _reply_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines if line)
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in fields}


async def _reply_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        size = headers.get("content-length")
        return await reader.read() if size is None else await reader.readexactly(int(size))
    parts = []
    while size_now := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size_now))
        await reader.readline()
    return b"".join(parts)
