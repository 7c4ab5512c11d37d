"""An engine whose model is a function: deterministic, instant or with a latency model.

For tests and simulations: it obeys stop strings, token limits, seeds and context length as a
real engine does, waits on a clock that the caller may own, and fails on demand.

Invariant: a completion is a pure function of the chat and the seed of its sample, whatever else
is in flight; time passes only through the given clock.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from actors.engines.admission import Admission, admitted, together
from actors.engines.contract import Chat, Completion, EngineSettings, Reply, Sampling, TokenLogprob
from storage.errors import EngineFailed, ItemError

Script = Callable[[Chat, int], str]
"""(chat, seed of the sample) -> the whole continuation, as far as the model would ever write."""

_TOKEN = re.compile(r"\s*\S+|\s+$")


class Clock(Protocol):
    """Where time passes."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class LoopClock:
    """The event loop's own time."""

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of real time."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of a sample, whatever else is in flight: a GPU's step costs the same half empty."""

    request_s: float = 0.0
    prompt_token_s: float = 0.0
    token_s: float = 0.0

    def seconds(self, prompt_tokens: int, tokens: int) -> float:
        """Time of a sample of `tokens` tokens."""
        return self.request_s + prompt_tokens * self.prompt_token_s + tokens * self.token_s


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong at which request (0-based, counted inside the engine); None: nothing."""

    crash_at: int | None = None
    """The engine dies: this request and everything after it raise EngineFailed."""
    short_at: int | None = None
    """This reply lacks a sample."""
    hang_at: int | None = None
    """This request is never answered."""


class ScriptedEngine:
    """Text out of a script."""

    def __init__(
        self,
        script: Script,
        settings: EngineSettings | None = None,
        *,
        latency: Latency | None = None,
        clock: Clock | None = None,
        faults: Faults | None = None,
    ) -> None:
        self._script = script
        self._settings = settings or EngineSettings(kind="scripted")
        self._latency = latency
        self._clock = clock or LoopClock()
        self._faults = faults or Faults()
        self._admission = Admission(self._settings.in_flight)
        self._dead: asyncio.Event = asyncio.Event()
        self._closed = False
        self.requests = 0
        """Requests that reached the engine so far, parts counted."""

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Run the script once per sample. Raises as `Engine.generate` says."""
        prompt = prompt_size(chat)
        limit = self._settings.max_model_len
        if limit is not None and prompt >= limit:
            raise ItemError("too_long", f"{prompt} tokens in a context of {limit}")
        room = sampling.max_tokens if limit is None else min(sampling.max_tokens, limit - prompt)

        async def part(wanted: Sampling) -> Reply:
            number = await self._trouble()
            samples = tuple(self._sample(chat, wanted, index, room) for index in range(wanted.n))
            if self._latency is not None:
                seconds = [self._latency.seconds(prompt, sample.tokens) for sample in samples]
                await together(*map(self._clock.sleep, seconds))
            if self._dead.is_set():
                raise EngineFailed("the scripted engine crashed with this request in flight")
            return Reply(samples[:-1] if number == self._faults.short_at else samples, prompt)

        return await admitted(part, sampling, self._settings.part, self._admission)

    async def close(self) -> None:
        """Refuse further requests."""
        self._closed = True

    async def _trouble(self) -> int:
        number, self.requests = self.requests, self.requests + 1
        if self._closed:
            raise EngineFailed("the engine is closed")
        if number == self._faults.crash_at:
            self._dead.set()
        if self._dead.is_set():
            raise EngineFailed("the scripted engine crashed")
        if number == self._faults.hang_at:
            await asyncio.get_running_loop().create_future()
        return number

    def _sample(self, chat: Chat, sampling: Sampling, index: int, room: int) -> Completion:
        greedy = sampling.temperature == 0
        text = self._script(chat, 0 if greedy else sampling.seed + index)
        stops = [(at, stop) for stop in sampling.stop if (at := text.find(stop)) >= 0]
        stop_string = None
        if stops:
            at, stop_string = min(stops)
            text = text[: at + (len(stop_string) if sampling.include_stop else 0)]
        pieces = _TOKEN.findall(text)
        cut = len(pieces) > room
        if cut:
            pieces, stop_string = pieces[:room], None
            text = "".join(pieces)
        return Completion(
            text=text,
            finish_reason="length" if cut else "stop",
            stop_string=stop_string,
            tokens=len(pieces),
            logprobs=tuple(TokenLogprob(piece, 0.0, ((piece, 0.0),)) for piece in pieces)
            if sampling.logprobs
            else (),
        )


def prompt_size(chat: Chat) -> int:
    """Scripted tokens (words) of a chat with its prefill."""
    texts = [message.content for message in chat.messages] + [chat.prefill]
    return sum(len(_TOKEN.findall(text)) for text in texts)
