"""The chat route of any OpenAI-compatible server (OpenAI, Together, Ollama, llama.cpp, SGLang,
vLLM).

The server renders prompts by its own template, so that neither tokens nor their number are known
here. What it can do is found once, when it is opened (`actors.engines.served.probing`).

Invariant: a reply is accepted only with exactly the samples asked for; what the server can't do is
made up for as `Capabilities.lines` says, or refused.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from dataclasses import replace
from functools import partial
from typing import Any

from actors.engines.admission import admitted
from actors.engines.contract import Chat, EngineSettings, Refusal, Reply, Sampling
from actors.engines.healing import Uncut, before_blanks, uncut_by
from actors.engines.rendering import ChatRenderer
from actors.engines.served.answers import BadAnswer
from actors.engines.served.capabilities import Capabilities
from actors.engines.served.chat_api import read_answer, request_body
from actors.engines.served.probing import Probe
from actors.engines.served.server import Again, Refused, Server
from storage.errors import ConfigurationError, EngineFailed, ItemError

START = 32
"""Sequences in flight in the beginning."""
REMEMBERED = 4096
"""Prompts of which the length is remembered."""
_CONTROL = re.compile(r"<[|｜][^<>\s]+[|｜]>")
"""What a server's tokenizer may take for a control token wherever it stands."""
_CONTEXT = re.compile(r"(?:context|model) (?:length|size|window)\D{0,40}?(\d{2,})", re.IGNORECASE)


class ChatEngine:
    """Use `await ChatEngine.open(settings)`."""

    def __init__(
        self,
        server: Server,
        settings: EngineSettings,
        found: Capabilities,
        renderer: ChatRenderer | None = None,
    ) -> None:
        """`renderer`: where a tokenizer is named, to spell texts with."""
        self._server = server
        self._settings = settings
        self.found = found
        self._renderer = renderer
        self._context = settings.max_model_len
        self._sizes: OrderedDict[Chat, int] = OrderedDict()
        """Tokens of prompts that were answered."""
        self.uncut: Uncut = before_blanks
        if found.blanks or found.continues == "user":
            self.uncut = len
        if renderer is not None:
            self.spell = renderer.spell
            self.uncut = uncut_by(renderer.spell)

    @classmethod
    async def open(cls, settings: EngineSettings) -> ChatEngine:
        """Ask the server for its model and try what it can do.

        Raises ConfigurationError for a missing URL or key, or a model the server does not know;
        InputError for a tokenizer that can't be loaded; EngineFailed for a server that does not
        answer.
        """
        server = Server(settings, start=START)
        renderer = None
        try:
            context = await _context_of(server)
            known = None if settings.continues == "auto" else settings.continues
            post = partial(server.post, "/chat/completions")
            found = await Probe(post, settings.model, settings.options).found(known)
            if settings.tokenizer is not None:
                renderer = await asyncio.to_thread(ChatRenderer.load, settings)
        except BaseException:
            await server.close()
            raise
        engine = cls(server, settings, found, renderer)
        engine._context = engine._context or context
        return engine

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Continue `chat`. Raises as `Engine.generate` says, and ConfigurationError for a sampling
        that the server can't do.
        """
        if self._server.closed:
            raise EngineFailed("the engine is closed")
        if any(_CONTROL.search(turn.content) for turn in chat.messages):
            raise ItemError(Refusal.CONTROL_TOKEN, "the server would take it for its own")
        self._check(sampling)
        size = self._settings.part if self.found.many else 1

        async def part(wanted: Sampling) -> Reply:
            return await self._fitted(chat, wanted)

        return await admitted(part, sampling, size, self._server.admission)

    async def close(self) -> None:
        """Close connections; requests in flight fail. Idempotent."""
        await self._server.close()
        if self._renderer is not None:
            self._renderer.close()

    def _check(self, sampling: Sampling) -> None:
        if sampling.top_k > 0 and not self.found.top_k:
            raise ConfigurationError(
                f"{self._server.url} does not obey top_k, and {sampling.top_k} is asked for: set "
                "the stage's `top_k` to -1"
            )
        if sampling.logprobs > self.found.logprobs:
            raise ConfigurationError(
                f"{self._server.url} gives {self.found.logprobs} log-probabilities, and "
                f"{sampling.logprobs} are asked for (`logprobs`)"
            )

    async def _fitted(self, chat: Chat, sampling: Sampling) -> Reply:
        """One part, with as many tokens as the context leaves."""
        size = self._sizes.get(chat)
        if size is not None:
            sampling = self._within(size, sampling)
        try:
            return await self._part(chat, sampling)
        except ItemError as error:
            if error.reason != Refusal.TOO_LONG or size is not None or sampling.max_tokens == 1:
                raise
            if said := _CONTEXT.search(error.detail):
                self._context = self._context or int(said[1])
        # Its length is learnt by a single token.
        await self._part(chat, replace(sampling, n=1, max_tokens=1, stop=(), logprobs=0))
        return await self._part(chat, self._within(self._sizes[chat], sampling))

    def _within(self, size: int, sampling: Sampling) -> Sampling:
        """The sampling cut to what the context leaves behind a prompt. Raises ItemError."""
        if self._context is None:
            return sampling
        room = self._context - size
        if room < 1:
            raise ItemError(Refusal.TOO_LONG, f"{size} tokens in a context of {self._context}")
        return replace(sampling, max_tokens=min(sampling.max_tokens, room))

    async def _part(self, chat: Chat, sampling: Sampling) -> Reply:
        reply = await self._server.retried(partial(self._complete, chat, sampling))
        self._sizes[chat] = reply.prompt_tokens
        self._sizes.move_to_end(chat)
        if len(self._sizes) > REMEMBERED:
            self._sizes.popitem(last=False)
        return reply

    async def _complete(self, chat: Chat, sampling: Sampling) -> Reply:
        body = request_body(
            self._settings.model, chat, sampling, self.found, self._settings.options
        )
        answer = await self._server.request("POST", "/chat/completions", body)
        try:
            return read_answer(answer, chat, sampling, self.found)
        except BadAnswer as error:
            raise Again(str(error)) from error


async def _context_of(server: Server) -> int | None:
    """The context that the server tells of its model; servers need not list models at all."""
    try:
        listed: dict[str, Any] = await server.listed()
    except Refused as refused:
        if refused.status in (404, 405, 501):
            return None
        raise
    lengths = [listed.get(name) for name in ("max_model_len", "context_length")]
    return next((length for length in lengths if isinstance(length, int)), None)
