"""The executor's sessions and their callers, without Ray and without boxes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from actors.sandbox.contract import SandboxSettings
from actors.sandbox.executor import CodeExecutor
from actors.sandbox.turnstile import Turnstile
from storage.errors import SandboxLost


class OneSession:
    """A sandbox that holds one session at a time."""

    def __init__(self) -> None:
        self.entrance = Turnstile(1)

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[str]:
        async with self.entrance.passed():
            yield key


async def test_what_a_dead_caller_still_waits_for_is_not_held_for_it() -> None:
    executor = CodeExecutor(SandboxSettings())
    executor._sandbox = OneSession()  # type: ignore[assignment]
    await executor.open_session("dead", "held")
    waiting = [asyncio.create_task(executor.open_session("dead", f"d{n}")) for n in range(3)]
    alive = asyncio.create_task(executor.open_session("alive", "a"))
    await asyncio.sleep(0)
    await executor.forget("dead")
    async with asyncio.timeout(5):
        identity = await alive
    for call in waiting:
        with pytest.raises(SandboxLost, match="its caller is gone"):
            await call
    assert list(executor._held) == [identity]
    await executor.close_session(identity)
    assert executor._expiry is not None
    executor._expiry.cancel()
