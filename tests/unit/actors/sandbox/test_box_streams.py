"""A box whose stream is closed is lost, whichever event loop holds the stream."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from actors.sandbox.box import Box, send
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.guest.frames import Frame
from storage.errors import SandboxLost

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
Loop = Callable[[], asyncio.AbstractEventLoop]


class StreamLink:
    """A link over one stream."""

    name = "box"

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._reader, self._writer = streams

    async def read(self) -> bytes:
        return await self._reader.read(100)

    async def write(self, data: bytes) -> None:
        await send(self._writer, data)

    async def close(self) -> str:
        self._writer.close()
        return ""


@LOOPS
def test_a_call_to_a_box_whose_stream_broke_says_that_it_is_lost(loop: Loop) -> None:
    async def call() -> None:
        ours, theirs = socket.socketpair()
        streams = await asyncio.open_connection(sock=ours)
        theirs.close()
        streams[1].transport.abort()
        await asyncio.sleep(0)  # the loop tells of it in its next turn
        await asyncio.sleep(0)
        box = Box(StreamLink(streams), SandboxSettings())
        with pytest.raises(SandboxLost, match="its stream is closed"):
            await box.ask(Frame("shut"), "shut", 5.0)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(call())
