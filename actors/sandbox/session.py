"""One Python interpreter for the code blocks of one solution, opened by its first block.

A solution without code takes no slot. If a block ends its interpreter (timeout, crash or exit), the
next block gets a fresh one.

Invariant: a block runs in the interpreter of the earlier blocks while that is alive. The session is
always closed, also after an error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self, TypeVar

from actors.sandbox.contract import Execution, Limits, Sandbox, Session, SessionDead
from storage.errors import Broken, ItemError, SandboxLost

Made = TypeVar("Made")

ATTEMPTS = 3
"""Tries of one solution or row, with unchanged seeds, when its sandbox is lost."""


class Interpreter:
    """A session that the first block opens, and that is replaced when its interpreter has ended.

    If the sandbox has its most sessions open, the first block waits for one of them to end.
    """

    def __init__(self, sandbox: Sandbox, key: str) -> None:
        self._sandbox = sandbox
        self._key = key
        self._opened = 0
        self.backends: set[str] = set()
        """What enclosed the blocks that were run."""
        self._held = AsyncExitStack()
        self._session: Session | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the session, if one is open. Idempotent."""
        self._session = None
        await self._held.aclose()

    async def run(self, code: str, limits: Limits) -> Execution:
        """Run one block. Raises RequestRejected, SandboxLost or SandboxUnavailable."""
        execution = await self._run(code, limits)
        if execution.backend:
            self.backends.add(execution.backend)
        return execution

    async def _run(self, code: str, limits: Limits) -> Execution:
        if self._session is not None:
            try:
                return await self._session.run(code, limits)
            except SessionDead:
                self._session = None
                await self._held.aclose()
        key = self._key if self._opened == 0 else f"{self._key}/{self._opened}"
        self._opened += 1
        self._held = AsyncExitStack()
        session = await self._held.enter_async_context(self._sandbox.session(key))
        self._session = session
        return await session.run(code, limits)


async def retried(make: Callable[[], Awaitable[Made]]) -> Made:
    """Await `make()`; begin anew if its sandbox is lost, with at most ATTEMPTS tries.

    Raises the last SandboxLost.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return await make()
        except SandboxLost:
            continue
    return await make()


async def retried_item(make: Callable[[], Awaitable[Made]]) -> Made:
    """`retried` for an item of a shard. Raises ItemError `sandbox_lost` after the last try."""
    try:
        return await retried(make)
    except SandboxLost as lost:
        raise ItemError(Broken.SANDBOX_LOST, str(lost)) from lost
