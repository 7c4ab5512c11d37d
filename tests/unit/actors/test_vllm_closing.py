"""What becomes of requests when vLLM's engine is closed, those that wait for a place among them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from actors.engines import vllm
from actors.engines.contract import Chat, EngineSettings, Sampling
from actors.engines.vllm import VllmEngine
from storage.errors import EngineFailed

pytest.importorskip("vllm")

PLACES = 2


class Silent:
    """vLLM's engine as far as it is used; it answers nothing until it is told of an error."""

    output_handler = None
    model_config = SimpleNamespace(max_model_len=100)

    def __init__(self) -> None:
        self.output_processor = self
        self.asked: list[asyncio.Future[Any]] = []

    async def generate(self, *_: Any) -> AsyncIterator[Any]:
        self.asked.append(asyncio.get_running_loop().create_future())
        yield await self.asked[-1]

    def propagate_error(self, error: Exception) -> None:
        for request in self.asked:
            request.set_exception(error)


class Words:
    """A renderer."""

    async def prompt(self, chat: Chat) -> tuple[int, ...]:
        return (1, 2, 3)

    def close(self) -> None:
        """Nothing."""


async def test_closing_fails_what_is_in_flight_and_what_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm, "stop", lambda *_: None)
    llm, log = Silent(), SimpleNamespace(text=lambda: "")
    settings = EngineSettings(model="m", max_in_flight=PLACES - 1)
    engine = VllmEngine(
        llm, Words(), settings, ThreadPoolExecutor(1), None, log,  # type: ignore[arg-type]
    )  # fmt: skip
    calls = [asyncio.create_task(engine.generate(Chat(()), Sampling(seed=i))) for i in range(6)]
    while len(llm.asked) < PLACES:
        await asyncio.sleep(0)
    await engine.close()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [EngineFailed] * 6
    assert len(llm.asked) == PLACES
