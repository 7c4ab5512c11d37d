"""A server's door in this process: a scripted verifier behind it instead of Ray's replicas."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import httpx2
import uvicorn

from actors.engines.reading import ScriptedReader
from actors.engines.scripted import Latency, ScriptedEngine
from tests.scripted_verifier import verifier, world_responses
from tests.support.kits import kit_of
from tests.support.scripted_world import InProcessSandbox
from workflows.formats.verification import READ, VerifySettings
from workflows.serving.answering import Answerer
from workflows.serving.door import ScoreDoor
from workflows.serving.gate import digest_of
from workflows.serving.questions import Question, Usual
from workflows.serving.settings import MODES, ServeSettings
from workflows.stages.score import SCORE

GIVEN = world_responses()
TOKEN = "a-token-of-some-length"


class OneReplica:
    """An answerer that is asked directly; `before` runs before each answer."""

    def __init__(self, answerer: Answerer) -> None:
        self.answerer = answerer
        self.before: Callable[[Question], Awaitable[None]] | None = None

    async def answer(self, question: Question) -> Any:
        if self.before is not None:
            await self.before(question)
        return await self.answerer.answer(question)

    async def stream(self, question: Question) -> AsyncIterator[Any]:
        if self.before is not None:
            await self.before(question)
        async for part in self.answerer.stream(question):
            yield part

    async def running(self) -> int:
        return 1


class Asked:
    """The open door."""

    def __init__(
        self,
        token: str | None,
        latency: Latency | None,
        reader: ScriptedReader | None = None,
        **limits: Any,
    ) -> None:
        self.engine = ScriptedEngine(verifier, latency=latency)
        settings = VerifySettings(histories=2) if reader is None else VerifySettings(mode=READ)
        opened: Any = reader or self.engine
        kit = kit_of(SCORE, opened, InProcessSandbox(), settings=settings)
        self.replica = OneReplica(Answerer(kit, AsyncExitStack(), mortal=True))
        modes = tuple(mode for mode in MODES if (mode == READ) == (reader is not None))
        usual = Usual(settings.mode, 2, 0, modes, ServeSettings(**limits))
        self.door = ScoreDoor(usual, token and digest_of(token), self.replica)
        self.client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=self.door), base_url="http://door"
        )

    async def score(self, headers: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
        return await self.client.post("/v1/score", json=body, headers=headers)

    async def one(self, number: int = 0, **how: Any) -> httpx2.Response:
        """Ask about one of the given solutions."""
        return await self.score(**item(number), **how)


@asynccontextmanager
async def asked_door(
    token: str | None = None,
    latency: Latency | None = None,
    reader: ScriptedReader | None = None,
    **limits: Any,
) -> AsyncIterator[Asked]:
    asked = Asked(token, latency, reader, **limits)
    async with asked.client:
        yield asked


def item(number: int) -> dict[str, Any]:
    """One of the given solutions, as a request holds it."""
    response = GIVEN[number]
    return {"id": response.response_id, "problem": response.problem, "steps": response.steps}


async def until(holds: Callable[[], bool]) -> None:
    """Let other tasks run until something holds."""
    while not holds():
        await asyncio.sleep(0)


@contextmanager
def served_door(token: str | None = None, **limits: Any) -> Iterator[str]:
    """The door on a port of this machine, in a thread; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # The loop of the thread makes what belongs to a loop.
        server = uvicorn.Server(uvicorn.Config(lambda: Asked(token, None, **limits).door,
                                               factory=True, log_level="error"))  # fmt: skip
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
