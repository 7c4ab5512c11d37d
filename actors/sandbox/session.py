"""One Python interpreter across the code blocks of one solution, opened when it is first needed.

A solution without code never takes a slot, and one whose code ended its own interpreter (a
timeout, a crash, an exit) gets a fresh one for the next block.

Invariant: a block runs in the interpreter of the blocks before it as long as that is alive; the
session is given back on every way out.
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
"""Tries of one solution, with unchanged seeds, when its sandbox is lost."""


class Interpreter:
    """A session of a sandbox that is opened late and replaced when it is dead.

    Where the sandbox holds as many sessions as it may, the first block waits for one to end.
    """

    def __init__(self, sandbox: Sandbox, key: str) -> None:
        self._sandbox = sandbox
        self._key = key
        self._opened = 0
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
        self._session = None
        await self._held.aclose()

    async def run(self, code: str, limits: Limits) -> Execution:
        """Run one block. Raises RequestRejected, SandboxLost or SandboxUnavailable."""
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


async def retried(make: Callable[[], Awaitable[Made]], attempts: int = ATTEMPTS) -> Made:
    """What `make` gives, which is begun anew where its sandbox is lost: `attempts` tries at most.

    Raises the last SandboxLost.
    """
    for _ in range(attempts - 1):
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
