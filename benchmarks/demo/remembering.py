"""An engine and a sandbox that answer once what several points of a figure ask for.

Samples follow from chat, settings and seed, and outputs from the code that ran before them, so that
what a smaller N asks for is part of what a larger one asks for. Who asks counts its tokens all the
same: only the computing is spared.

Invariant: an answer is the one that the first who asked got. (A vLLM that was asked again may give
a close one.) Outputs are those of code that prints the same whenever it runs, as the demo's does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from actors.engines.contract import Chat, Completion, Engine, Reply, Sampling
from actors.engines.healing import Spell
from actors.sandbox.contract import Execution, Limits, Request, Sandbox, Session


class RememberingEngine:
    """Asks another engine for each sample once; closing it leaves that engine open."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[tuple[Chat, Sampling], asyncio.Task[Reply]] = {}
        self.spell: Spell | None = getattr(engine, "spell", None)

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """See `Engine.generate`."""
        replies = await asyncio.gather(*(self._sample(chat, part) for part in sampling.parts(1)))
        completions: list[Completion] = [one for reply in replies for one in reply.completions]
        return Reply(tuple(completions), replies[0].prompt_tokens)

    async def _sample(self, chat: Chat, sampling: Sampling) -> Reply:
        key = chat, sampling
        if key not in self._known:
            self._known[key] = asyncio.create_task(self._engine.generate(chat, sampling))
        return await asyncio.shield(self._known[key])

    async def close(self) -> None:
        """Forget everything."""
        self._known.clear()


class RememberingSandbox:
    """Runs each sequence of blocks once; closing it leaves the other sandbox open."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._known: dict[tuple[str, ...], Execution] = {}

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[Session]:
        """A session that opens an interpreter only for blocks that nobody ran."""
        async with AsyncExitStack() as held:
            yield _Remembered(self._sandbox, self._known, key, held)

    async def run(self, request: Request, limits: Limits | None = None) -> Execution:
        """See `Sandbox.run`."""
        return await self._sandbox.run(request, limits)

    async def close(self) -> None:
        """Forget everything."""
        self._known.clear()


class _Remembered:
    """One session."""

    def __init__(
        self,
        sandbox: Sandbox,
        known: dict[tuple[str, ...], Execution],
        key: str,
        held: AsyncExitStack,
    ) -> None:
        self._sandbox, self._known, self._key, self._held = sandbox, known, key, held
        self._ran: tuple[str, ...] = ()
        self._session: Session | None = None

    async def run(self, code: str, limits: Limits | None = None) -> Execution:
        """Run one block, behind those of this session."""
        before, self._ran = self._ran, (*self._ran, code)
        if self._ran not in self._known:
            if self._session is None:
                session = self._sandbox.session(self._key)
                self._session = await self._held.enter_async_context(session)
                for earlier in before:
                    await self._session.run(earlier, limits)
            self._known[self._ran] = await self._session.run(code, limits)
        elif self._session is not None:
            await self._session.run(code, limits)
        return replace(self._known[self._ran])
