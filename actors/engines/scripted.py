"""An engine whose model is a function: deterministic, instant or with a latency model.

For tests and simulations: it obeys stop strings, token limits, seeds and context length as a
real engine does, waits on a clock that the caller may own, and fails on demand.

Invariant: a completion is a pure function of the chat and the seed of its sample, whatever else
is in flight; time passes only through the given clock.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from actors.engines.admission import Admission, Leave, joined, whole
from actors.engines.contract import (
    SEED_SPACE,
    Chat,
    Completion,
    EngineSettings,
    Refusal,
    Reply,
    Sampling,
    TokenLogprob,
)
from storage.errors import EngineFailed, ItemError

Script = Callable[[Chat, int], str]
"""(chat, seed of the sample) -> the whole continuation, as far as the model would ever write."""

_TOKEN = re.compile(r"\s*\S+|\s+$")


class Clock(Protocol):
    """Where time passes."""

    async def sleep(self, seconds: float, sequences: int) -> None:
        """Let `seconds` pass, real or virtual; `sequences`: how many the engine works on then."""
        ...


class LoopClock:
    """The event loop's own time."""

    async def sleep(self, seconds: float, sequences: int) -> None:
        """Wait for `seconds` of real time, whatever is at work."""
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
            raise ItemError(Refusal.TOO_LONG, f"{prompt} tokens in a context of {limit}")
        room = sampling.max_tokens if limit is None else min(sampling.max_tokens, limit - prompt)

        size = min(self._settings.part, self._admission.capacity)

        async def group(wanted: Sampling, leave: Leave) -> Reply:
            reply = Reply(await self._samples(chat, wanted, size, room), prompt)
            if self._latency is not None:
                await self._pass_time(reply, size, self._latency, leave)
            if self._dead.is_set():
                raise EngineFailed("the scripted engine crashed with this request in flight")
            return whole(reply, wanted.n)

        made = self._admission.each(sampling, size, lambda wanted, leave: [group(wanted, leave)])
        return joined(await made)

    async def close(self) -> None:
        """Refuse further requests."""
        self._closed = True

    async def _samples(
        self, chat: Chat, wanted: Sampling, size: int, room: int
    ) -> tuple[Completion, ...]:
        """The samples of a group, part by part."""
        samples: list[Completion] = []
        for first in range(0, wanted.n, size):
            short = await self._trouble() == self._faults.short_at
            indices = range(first, min(first + size, wanted.n) - short)
            samples += [self._sample(chat, wanted, index, room) for index in indices]
        return tuple(samples)

    async def _pass_time(self, reply: Reply, size: int, latency: Latency, leave: Leave) -> None:
        """What the samples take; a part gives its places back with its last sample."""
        tokens = [sample.tokens for sample in reply.completions]
        ended = Counter(tokens)
        places = ended
        if size > 1:
            places = Counter()
            for first in range(0, len(tokens), size):
                part = tokens[first : first + size]
                places[max(part)] += len(part)
        passed, at_work = 0.0, len(tokens)
        for length in sorted(ended):
            seconds = latency.seconds(reply.prompt_tokens, length)
            await self._clock.sleep(seconds - passed, at_work)
            passed = seconds
            at_work -= ended[length]
            leave(places[length])

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
        text = self._script(chat, 0 if greedy else (sampling.seed + index) % SEED_SPACE)
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
