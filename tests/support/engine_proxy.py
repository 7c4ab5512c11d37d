"""A socket before the container engine that can be cut: an engine that is gone harms no other test.

`sandbox.docker_host: unix://…` names the socket instead of the engine's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from actors.sandbox.docker.engine import find_engine
from actors.sandbox.image.rootfs import state_dir


class EngineProxy:
    """Forwards to the machine's engine, until it is cut."""

    def __init__(self, socket: Path, engine: str) -> None:
        self.address = f"unix://{socket}"
        self._socket, self._engine = str(socket), engine.removeprefix("unix://")
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def join(self) -> None:
        """Let connections through."""
        asyncio.run_coroutine_threadsafe(self._join(), self._loop).result()

    def cut(self) -> None:
        """Break all connections, and take no further ones."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result()

    async def _join(self) -> None:
        self._server = await asyncio.start_unix_server(self._forward, self._socket)

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
        Path(self._socket).unlink(missing_ok=True)
        for link in list(self._links):
            link.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there = await asyncio.open_unix_connection(self._engine)
        self._links |= {writer, there}
        await asyncio.gather(_pass(reader, there), _pass(there_reader, writer))
        self._links -= {writer, there}


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


@contextlib.contextmanager
def engine_proxy() -> Iterator[EngineProxy]:
    """A proxy that lets through. Raises SandboxUnavailable where no engine is."""
    engine = asyncio.run(find_engine(state_dir())).address
    with tempfile.TemporaryDirectory(prefix="stepmill-proxy-") as folder:
        proxy = EngineProxy(Path(folder, "engine.sock"), engine)
        proxy.join()
        try:
            yield proxy
        finally:
            proxy.cut()
