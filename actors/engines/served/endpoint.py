"""Any OpenAI-compatible server: its completions route, with prompts that are rendered here.

Prompts are sent as the tokens that our tokenizer made of chat template and prefill, so that
prefills work and the same chat is the same prompt on every backend.

Invariant: a reply is accepted only with exactly the samples asked for, each with text and finish
reason; anything else is tried again (`actors.engines.served.server`), and never an empty text.
"""

from __future__ import annotations

import asyncio
from functools import partial

from actors.engines.admission import admitted
from actors.engines.contract import Chat, EngineSettings, Refusal, Reply, Sampling
from actors.engines.rendering import ChatRenderer
from actors.engines.served.answers import BadAnswer
from actors.engines.served.completions_api import read_answer, request_body
from actors.engines.served.server import Again, Server
from storage.errors import EngineFailed, ItemError


class EndpointEngine:
    """Use `await EndpointEngine.open(settings)`."""

    def __init__(self, server: Server, renderer: ChatRenderer, settings: EngineSettings) -> None:
        self._server = server
        self._renderer = renderer
        self._settings = settings
        self._context = settings.max_model_len

    @classmethod
    async def open(cls, settings: EngineSettings) -> EndpointEngine:
        """Ask the server for its model and load the tokenizer.

        Raises ConfigurationError for a missing URL or key, or a model the server does not know;
        InputError for a tokenizer that can't be loaded; EngineFailed for a server that does not
        answer.
        """
        server = Server(settings)
        try:
            known = await server.listed()
            renderer = await asyncio.to_thread(ChatRenderer.load, settings)
        except BaseException:
            await server.close()
            raise
        engine = cls(server, renderer, settings)
        limit = known.get("max_model_len")
        if engine._context is None and isinstance(limit, int):
            engine._context = limit
        return engine

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Continue `chat`. Raises as `Engine.generate` says."""
        if self._server.closed:
            raise EngineFailed("the engine is closed")
        tokens = await self._renderer.prompt(chat)
        room = sampling.max_tokens
        if self._context is not None:
            room = min(room, self._context - len(tokens))
        if room < 1:
            raise ItemError(
                Refusal.TOO_LONG, f"{len(tokens)} tokens in a context of {self._context}"
            )
        prompt = list(tokens)

        async def part(wanted: Sampling) -> Reply:
            return await self._server.retried(partial(self._complete, prompt, wanted, room))

        return await admitted(part, sampling, self._settings.part, self._server.admission)

    def spell(self, text: str) -> list[int]:
        """A text as the model's token ids, without special ones around it."""
        return self._renderer.spell(text)

    async def close(self) -> None:
        """Close connections; requests in flight fail. Idempotent."""
        await self._server.close()
        self._renderer.close()

    async def _complete(self, prompt: list[int], sampling: Sampling, room: int) -> Reply:
        body = request_body(self._settings.model, prompt, sampling, room)
        answer = await self._server.request("POST", "/completions", body)
        try:
            return read_answer(answer, sampling, len(prompt), self._renderer.count)
        except BadAnswer as error:
            raise Again(str(error)) from error
