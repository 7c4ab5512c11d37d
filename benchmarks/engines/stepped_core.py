"""The engine core of a GPU that isn't there, behind vLLM's own front end.

`VllmEngine` and vLLM's `AsyncLLM` are the real ones: prompts are rendered, requests encoded, tokens
decoded and stop strings found as in production. Only the core's process is played. A step takes
`step_s` however full it is; each of at most `places` sequences gets one token of a text that a
script says. Arrivals and aborts take effect with the next step. The prompt costs nothing.

Invariant: the core keeps its own time. Steps begin and end when they would beside a process that
is late to read them, so that a busy front end delays requests and never the core.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from actors.engines.contract import Chat, EngineSettings, Reply, Sampling
from actors.engines.scripted import Script
from actors.engines.vllm import VllmEngine
from tests.support.virtual_time import VirtualLoop

asked: ContextVar[Chat] = ContextVar("asked")
"""The chat that the current request continues: a core is given token ids alone."""


class ProcessorLoop(VirtualLoop):
    """A loop whose time is this thread's processor time and what it waits for.

    So what we compute counts, and what else runs on the machine does not.
    """

    def __init__(self) -> None:
        self._played = 0.0
        self._began = time.thread_time()
        super().__init__()

    def time(self) -> float:
        """Seconds since the loop was made, without those that `play` took."""
        return self.now + self.worked()

    def worked(self) -> float:
        """Processor seconds of it, without what `play` took."""
        return time.thread_time() - self._began - self._played

    @contextmanager
    def play(self) -> Iterator[None]:
        """What another process would do meanwhile takes no time."""
        began = time.thread_time()
        try:
            yield
        finally:
            self._played += time.thread_time() - began


@contextmanager
def played() -> Iterator[None]:
    """`ProcessorLoop.play` where such a loop runs; in real time what is played takes its time."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, ProcessorLoop):
        with loop.play():
            yield
    else:
        yield


def worked() -> float:
    """Processor seconds of this thread's own work; in real time what is played counts too."""
    loop = asyncio.get_running_loop()
    return loop.worked() if isinstance(loop, ProcessorLoop) else time.thread_time()


@dataclass(slots=True)
class Spoken:
    """A request in the core."""

    request_id: str
    ids: list[int]
    """What it will be given, the end token last unless its limit comes first."""
    stops: bool
    """Whether it ends by itself."""
    likely: int
    """Alternatives that are wanted for each token."""
    at: int = 0


@dataclass(slots=True)
class Steps:
    """What the core did, step by step."""

    ends: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    """Sequences that waited in the core, behind those that had a place."""

    def rate(self, begin: float, end: float) -> float:
        """Tokens a second between two times."""
        given = sum(
            tokens for at, tokens in zip(self.ends, self.tokens, strict=True) if begin < at <= end
        )
        return given / (end - begin) if end > begin else 0.0


class SteppedCore:
    """In the place of vLLM's client of its engine core."""

    def __init__(self, places: int, step_s: float, speak: Callable[[Any], Spoken]) -> None:
        from vllm.v1.engine import EngineCoreOutputs
        from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

        self._places, self._step_s, self._speak = places, step_s, speak
        self._encoder, self._decoder = MsgpackEncoder(), MsgpackDecoder(EngineCoreOutputs)
        self._running: dict[str, Spoken] = {}
        self._pending: deque[tuple[float, Spoken]] = deque()
        self._withdrawn: deque[tuple[float, str]] = deque()
        self._came = asyncio.Event()
        self._begin = 0.0
        self.steps = Steps()
        self.resources = SimpleNamespace(engine_dead=False)
        self.engine_ranks_managed = [0]

    async def get_supported_tasks_async(self) -> tuple[str, ...]:
        """It generates."""
        return ("generate",)

    async def add_request_async(self, request: Any) -> None:
        """Encode a request as for the core's socket, and take it."""
        self._encoder.encode(request)
        with played():
            sequence = self._speak(request)
        self._pending.append((self._now(), sequence))
        self._came.set()

    async def abort_requests_async(self, request_ids: Sequence[str]) -> None:
        """Take their places back, with the next step."""
        self._withdrawn.extend((self._now(), request_id) for request_id in request_ids)

    async def get_output_async(self) -> Any:
        """The tokens of the next step that gave any, once it has ended."""
        while True:
            if not self._running:
                await self._something()
            end = self._begin + self._step_s
            if (left := end - self._now()) > 0:
                await asyncio.sleep(left)
            with played():
                outputs = self._step(self._begin, end)
                encoded = self._encoder.encode(outputs)
            self._begin = end
            if outputs.outputs:
                return self._decoder.decode(encoded)

    async def reset_prefix_cache_async(self, *given: Any, **named: Any) -> bool:
        """There is none."""
        return True

    def shutdown(self, timeout: float | None = None) -> None:
        """There is no process."""

    async def _something(self) -> None:
        """An idle core begins a step when something comes."""
        while not self._pending:
            self._came.clear()
            await self._came.wait()
        self._begin = max(self._begin, self._pending[0][0])

    def _step(self, begin: float, end: float) -> Any:
        from vllm.v1.engine import EngineCoreOutputs

        self._withdraw(begin)
        while self._pending and len(self._running) < self._places and self._pending[0][0] <= begin:
            sequence = self._pending.popleft()[1]
            self._running[sequence.request_id] = sequence
        self.steps.ends.append(end)
        self.steps.tokens.append(len(self._running))
        self.steps.waiting.append(len(self._pending))
        return EngineCoreOutputs(outputs=[self._token(each) for each in [*self._running.values()]])

    def _withdraw(self, begin: float) -> None:
        gone = set()
        while self._withdrawn and self._withdrawn[0][0] <= begin:
            gone.add(self._withdrawn.popleft()[1])
        if lost := gone - self._running.keys():
            kept = [each for each in self._pending if each[1].request_id not in lost]
            self._pending = deque(kept)
        for request_id in gone & self._running.keys():
            del self._running[request_id]

    def _token(self, sequence: Spoken) -> Any:
        from vllm.v1.engine import EngineCoreOutput, FinishReason

        token, likely = sequence.ids[sequence.at], None
        if sequence.likely:
            likely = _alternatives(token, sequence.likely)
        sequence.at += 1
        finish = None
        if sequence.at == len(sequence.ids):
            finish = FinishReason.STOP if sequence.stops else FinishReason.LENGTH
            del self._running[sequence.request_id]
        return EngineCoreOutput(
            request_id=sequence.request_id, new_token_ids=[token], new_logprobs=likely,
            finish_reason=finish,
        )  # fmt: skip

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _alternatives(token: int, count: int) -> Any:
    """A token that is all but certain, and others."""
    from vllm.v1.outputs import LogprobsLists

    others = [other for other in range(3, count + 4) if other != token][:count]
    logprobs = [-0.01, -5.0] + [-9.0 - place for place in range(count - 1)]
    ranks = np.array([1])
    return LogprobsLists(np.array([[token, *others]]), np.array([logprobs]), ranks, None)


class SpokenEngine:
    """`VllmEngine` in front of a played core; says a script's texts."""

    def __init__(self, engine: VllmEngine, core: SteppedCore) -> None:
        self.vllm = engine
        self.core = core
        self.spell = engine.spell

    @classmethod
    async def open(cls, settings: EngineSettings, step_s: float, script: Script) -> SpokenEngine:
        """vLLM's front end for a model's folder, without a core."""
        from vllm.v1.engine.core_client import EngineCoreClient

        made: list[SteppedCore] = []
        speakers: list[Speaker] = []

        def client(**named: Any) -> SteppedCore:
            speakers.append(Speaker(script))
            made.append(SteppedCore(settings.in_flight, step_s, speakers[-1]))
            return made[-1]

        real = EngineCoreClient.make_async_mp_client
        EngineCoreClient.make_async_mp_client = staticmethod(client)
        try:
            engine = await VllmEngine.open(settings)
        finally:
            EngineCoreClient.make_async_mp_client = staticmethod(real)
        speakers[0].know(engine)
        return cls(engine, made[0])

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Continue a chat as the script does."""
        asked.set(chat)
        return await self.vllm.generate(chat, sampling)

    async def close(self) -> None:
        """Close vLLM's front end."""
        await self.vllm.close()


class Speaker:
    """What a script says to a request, as the tokens of the model."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._spell: Callable[[str], list[int]] = lambda text: []
        self._end = 0

    def know(self, engine: VllmEngine) -> None:
        """Take the model's tokens."""
        tokenizer = engine._renderer._tokenizer
        self._spell, self._end = engine._renderer._spelling._whole, tokenizer.eos_token_id

    def __call__(self, request: Any) -> Spoken:
        """The sequence of a request."""
        wanted = request.sampling_params
        ids = [*self._spell(self._script(asked.get(), wanted.seed)), self._end]
        stops = len(ids) <= wanted.max_tokens
        return Spoken(request.request_id, ids[: wanted.max_tokens], stops, wanted.logprobs or 0)
