"""Any OpenAI-compatible server: its completions route, with prompts that are rendered here.

Prompts are sent as the tokens that our tokenizer made of chat template and prefill, so that
prefills work and the same chat is the same prompt on every backend.

Invariant: a reply is accepted only with exactly the samples asked for, each with text and finish
reason; anything else (a cut reply, too few samples, 429, 5xx, a lost connection, silence) is
tried again with growing, jittered pauses and is EngineFailed in the end, never an empty text.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar

import aiohttp

from actors.engines.admission import Admission, admitted
from actors.engines.completions_api import BadAnswer, read_answer, request_body
from actors.engines.contract import Chat, EngineSettings, Refusal, Reply, Sampling
from actors.engines.rendering import ChatRenderer
from storage.errors import ConfigurationError, EngineFailed, ItemError

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0
CONNECT_S = 10.0
TOO_LONG = ("context length", "model length", "max_model_len", "too long")
"""What a server says of a prompt that fills its context, where it did not tell the length."""
JSON = {"Content-Type": "application/json"}
T = TypeVar("T")


class _Again(Exception):
    """This try failed in a way that another may not."""

    def __init__(self, what: str, after_s: float = 0.0) -> None:
        super().__init__(what)
        self.after_s = after_s


class EndpointEngine:
    """Use `await EndpointEngine.open(settings)`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        renderer: ChatRenderer,
        settings: EngineSettings,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        assert settings.url is not None
        self._session = session
        self._renderer = renderer
        self._settings = settings
        self._pauses = random.Random()  # jitter only: no result depends on it
        self._sleep = sleep
        self._url = settings.url.rstrip("/")
        self._context = settings.max_model_len
        self._admission = Admission(settings.in_flight)

    @classmethod
    async def open(cls, settings: EngineSettings) -> EndpointEngine:
        """Load the tokenizer and ask the server for its model.

        Raises ConfigurationError for a missing URL or key, or a model the server does not know;
        InputError for a tokenizer that can't be loaded; EngineFailed for a server that does not
        answer.
        """
        if not settings.url:
            raise ConfigurationError("an endpoint engine needs a `url`, e.g. http://host:8000/v1")
        headers = {}
        if settings.api_key_env:
            key = os.environ.get(settings.api_key_env)
            if not key:
                raise ConfigurationError(f"environment variable {settings.api_key_env} is not set")
            headers["Authorization"] = f"Bearer {key}"
        renderer = await asyncio.to_thread(ChatRenderer.load, settings)
        session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=0),  # admission bounds what is in flight
            timeout=aiohttp.ClientTimeout(total=settings.timeout_s, sock_connect=CONNECT_S),
        )
        engine = cls(session, renderer, settings)
        try:
            await engine._learn_model()
        except BaseException:
            await engine.close()
            raise
        return engine

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Continue `chat`. Raises as `Engine.generate` says."""
        if self._session.closed:
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
            return await self._retried(partial(self._complete, prompt, wanted, room))

        return await admitted(part, sampling, self._settings.part, self._admission)

    def spell(self, text: str) -> list[int]:
        """A text as the model's token ids, without special ones around it."""
        return self._renderer.spell(text)

    async def close(self) -> None:
        """Close connections; requests in flight fail. Idempotent."""
        await self._session.close()
        self._renderer.close()

    async def _learn_model(self) -> None:
        listed = await self._retried(partial(self._request, "GET", "/models", None))
        models = listed.get("data")
        if not isinstance(models, list):
            raise EngineFailed(f"{self._url}/models is no list of models")
        known = {model.get("id"): model for model in models if isinstance(model, dict)}
        if self._settings.model not in known:
            names = ", ".join(sorted(map(str, known))) or "none"
            raise ConfigurationError(
                f"the server at {self._url} has no model {self._settings.model!r}, only: {names}"
            )
        limit = known[self._settings.model].get("max_model_len")
        if self._context is None and isinstance(limit, int):
            self._context = limit

    async def _retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Run `attempt` until it succeeds or the retries are spent."""
        tries = 0
        while True:
            try:
                return await attempt()
            except _Again as trouble:
                tries += 1
                if tries > self._settings.retries:
                    raise EngineFailed(
                        f"{self._url} failed {tries} times, lastly: {trouble}"
                    ) from trouble
                pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (tries - 1))
                pause *= self._pauses.uniform(0.5, 1.5)
                await self._sleep(max(pause, trouble.after_s))

    async def _request(self, method: str, route: str, body: dict[str, Any] | None) -> Any:
        if self._session.closed:
            raise EngineFailed("the engine is closed")
        sent = None if body is None else json.dumps(body).encode()
        try:
            async with self._session.request(
                method, self._url + route, data=sent, headers=JSON
            ) as response:
                if response.status != 200:
                    await self._refuse(response)
                content = json.loads(await response.read())
        except TimeoutError as error:
            raise _Again(f"no reply within {self._settings.timeout_s:g} s") from error
        except (aiohttp.ClientError, ValueError, OSError) as error:
            raise _Again(f"{type(error).__name__}: {error}") from error
        if not isinstance(content, dict):
            raise _Again("a reply that is not a JSON object")
        return content

    async def _refuse(self, response: aiohttp.ClientResponse) -> None:
        said = (await response.text(errors="replace"))[:300]
        trouble = f"HTTP {response.status}: {said}"
        if response.status in RETRIED:
            raise _Again(trouble, _retry_after(response.headers.get("Retry-After", "")))
        if response.status == 400 and any(sign in said.lower() for sign in TOO_LONG):
            raise ItemError(Refusal.TOO_LONG, trouble)
        raise ConfigurationError(f"{self._url} refuses the request: {trouble}")

    async def _complete(self, prompt: list[int], sampling: Sampling, room: int) -> Reply:
        body = request_body(self._settings.model, prompt, sampling, room)
        answer = await self._request("POST", "/completions", body)
        try:
            return read_answer(answer, sampling, len(prompt), self._renderer.count)
        except BadAnswer as error:
            raise _Again(str(error)) from error


def _retry_after(header: str) -> float:
    """Seconds that the server asks for (a number or a date); 0 where it asks for none."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            then = parsedate_to_datetime(header)
        except ValueError:
            return 0.0
        seconds = (then - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_PAUSE_S)
