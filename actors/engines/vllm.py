"""vLLM in process: its asynchronous engine with everything in flight batched continuously.

The same code runs on CPU and GPU. The model lives in a process of its own (vLLM's engine core),
which is tied to ours; this side renders prompts, admits sequences and reads final outputs.

Invariant: as soon as the engine core is dead, every request in flight and every later one raises
EngineFailed; a caller that is cancelled withdraws its request; no engine core outlives its owner.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import partial
from itertools import count
from typing import Any

from actors.engines.admission import Admission, Leave, admitted
from actors.engines.contract import (
    Chat,
    Completion,
    EngineSettings,
    Refusal,
    Reply,
    Sampling,
    TokenLogprob,
)
from actors.engines.log import EngineLog, cause_of
from actors.engines.rendering import ChatRenderer
from actors.engines.start import starting
from actors.engines.vllm_core import LOGGING, one_line, start, stop
from actors.machines.fitting import fitting
from actors.models.fetching import at_hand
from actors.models.folder import check_model
from actors.owned_folder import OwnedFolder
from storage.errors import ConfigurationError, EngineFailed, ItemError

AHEAD = 0.25
"""Share of sequences beyond `max_in_flight` that wait inside the engine, so that a finished one
is replaced in the next step and not a trip through the event loop later."""

Route = Callable[[Any, Any, str], AsyncIterator[Any]]
"""(prompt, parameters, number of the request) -> vLLM's outputs."""
SOCKET_BYTES = 36
"""Names of vLLM's sockets: UUIDs."""


class VllmEngine:
    """Use `await VllmEngine.open(settings)`."""

    def __init__(
        self,
        llm: Any,
        renderer: ChatRenderer,
        settings: EngineSettings,
        thread: ThreadPoolExecutor,
        sockets: OwnedFolder,
        log: EngineLog,
    ) -> None:
        self._llm = llm
        self._sockets = sockets
        self._log = log
        self._renderer = renderer
        self._settings = settings
        self._thread = thread
        self._context: int = llm.model_config.max_model_len
        ahead = max(settings.part, int(settings.in_flight * AHEAD))
        self._admission = Admission(settings.in_flight + ahead)
        self._numbers = count()
        self._closed = False

    @classmethod
    async def open(cls, settings: EngineSettings) -> VllmEngine:
        """Load the model: seconds for a tiny one, minutes for a large one.

        What is not on this machine yet is fetched first. Raises InputError for a folder that is no
        model and what can't be fetched, ConfigurationError for arguments that
        vLLM refuses, EngineRefused where it can't run here and EngineFailed where it did not start.
        """
        settings = await asyncio.to_thread(at_hand, settings)
        check_model(settings)
        fit = await fitting(settings)
        # The thread that starts the engine core must live as long as it: the kernel ties the
        # child to the thread, not to the process.
        for name, value in LOGGING.items():
            os.environ.setdefault(name, value)
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vllm")
        loop = asyncio.get_running_loop()
        sockets = OwnedFolder("vllm", sockets=SOCKET_BYTES)
        log = EngineLog(sockets.path)
        try:
            renderer = await loop.run_in_executor(thread, ChatRenderer.load, settings)
            # In a list that is emptied: futures and frames keep what they returned, and vLLM's
            # engine must be gone before the interpreter ends.
            with starting(settings.model):
                started = await loop.run_in_executor(
                    thread, lambda: [start(settings, sockets.path, log, fit)]
                )
        except BaseException:
            thread.shutdown(wait=False)
            log.close()
            sockets.remove()
            raise
        return cls(started.pop(), renderer, settings, thread, sockets, log)

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Continue `chat`. Raises as `Engine.generate` says."""
        if self._closed:
            raise EngineFailed("the engine is closed")
        prompt = await self._renderer.prompt(chat)
        room = self._context - len(prompt)
        if room < 1:
            raise ItemError(
                Refusal.TOO_LONG, f"{len(prompt)} tokens in a context of {self._context}"
            )
        tokens = list(prompt)
        parameters = _parameters(sampling, min(sampling.max_tokens, room))

        async def part(wanted: Sampling) -> Reply:
            own = copy(parameters)  # making and checking them costs more than a sample's own part
            own.n, own.seed = wanted.n, wanted.seed
            return await self._part(tokens, wanted, own)

        return await admitted(part, sampling, self._settings.part, self._admission)

    async def ask(self, prompt: list[int], parameters: Any, pooled: bool) -> Any:
        """What vLLM says of a text that is there already: its own output.

        `parameters` are `PoolingParams` where it is `pooled`, else `SamplingParams` for one token.
        Raises EngineFailed, and ItemError `too_long`.
        """
        if self._closed:
            raise EngineFailed("the engine is closed")
        if len(prompt) + (not pooled) > self._context:
            raise ItemError(
                Refusal.TOO_LONG, f"{len(prompt)} tokens in a context of {self._context}"
            )

        def start(wanted: Sampling, leave: Leave) -> list[Coroutine[Any, Any, Any]]:
            return [self._final(_encode if pooled else _generate, prompt, parameters)]

        (output,) = await self._admission.each(Sampling(), 1, start)
        return output

    @property
    def renderer(self) -> ChatRenderer:
        """The model's tokenizer and chat template."""
        return self._renderer

    def spell(self, text: str) -> list[int]:
        """A text as the model's token ids, without special ones around it."""
        return self._renderer.spell(text)

    async def close(self) -> None:
        """Stop the engine core; requests in flight raise EngineFailed. Idempotent."""
        if self._closed:
            return
        self._closed = True
        llm, self._llm = self._llm, None
        llm.output_processor.propagate_error(EngineFailed("the engine was closed"))
        if llm.output_handler is not None:
            llm.output_handler.cancel()  # before the core goes, or its end reads as a crash
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, partial(stop, llm, self._log, self._sockets))
        finally:
            self._renderer.close()
            self._thread.shutdown(wait=False)

    async def _part(self, prompt: list[int], sampling: Sampling, parameters: Any) -> Reply:
        final = await self._final(_generate, prompt, parameters)
        return Reply(
            completions=tuple(_completion(output, sampling) for output in final.outputs),
            prompt_tokens=len(prompt),
            cached_tokens=final.num_cached_tokens or 0,
        )

    async def _final(
        self, route: Callable[[Any], Route], prompt: list[int], parameters: Any
    ) -> Any:
        """The one output that vLLM sends for a prompt on one of its routes."""
        from vllm.exceptions import VLLMClientError
        from vllm.inputs.engine import tokens_input

        if self._closed:  # while it waited for a place
            raise EngineFailed("the engine was closed")
        outputs = route(self._llm)(tokens_input(prompt), parameters, f"{next(self._numbers)}")
        try:
            received = [output async for output in outputs]  # FINAL_ONLY: exactly one
        except VLLMClientError as error:
            raise ConfigurationError(f"vLLM refuses the request: {one_line(error)}") from error
        except Exception as error:
            cause = cause_of(self._log.text(), error)
            raise EngineFailed(f"{self._settings.model} died at work: {cause.said}") from error
        if len(received) != 1:
            raise EngineFailed(f"vLLM sent {len(received)} outputs where one was asked for")
        return received[0]


def _generate(llm: Any) -> Route:
    route: Route = llm.generate
    return route


def _encode(llm: Any) -> Route:
    route: Route = llm.encode
    return route


def _parameters(sampling: Sampling, max_tokens: int) -> Any:
    """vLLM's sampling parameters; a part needs its own number of samples and seed."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_tokens=max_tokens,
        stop=list(sampling.stop) or None,
        include_stop_str_in_output=sampling.include_stop,
        seed=sampling.seed,
        logprobs=sampling.logprobs or None,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,  # nothing in them changes: a deep copy for each sample would be wasted
    )


def _completion(output: Any, sampling: Sampling) -> Completion:
    if output.finish_reason not in ("stop", "length"):
        raise EngineFailed(f"vLLM ended a sample with {output.finish_reason!r}")
    return Completion(
        text=output.text,
        finish_reason=output.finish_reason,
        stop_string=output.stop_reason if isinstance(output.stop_reason, str) else None,
        tokens=len(output.token_ids),
        logprobs=_logprobs(output, sampling.logprobs) if sampling.logprobs else (),
    )


def _logprobs(output: Any, top: int) -> tuple[TokenLogprob, ...]:
    """Sampled tokens with their `top` most likely alternatives, most likely first."""
    rows = []
    for token, choices in zip(output.token_ids, output.logprobs, strict=True):
        ranked = sorted(choices.values(), key=lambda choice: choice.rank)[:top]
        chosen = choices[token]
        rows.append(
            TokenLogprob(
                chosen.decoded_token,
                chosen.logprob,
                tuple((choice.decoded_token, choice.logprob) for choice in ranked),
            )
        )
    return tuple(rows)
