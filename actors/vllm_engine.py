"""vLLM in process: its asynchronous engine with everything in flight batched continuously.

The same code runs on CPU and GPU. The model lives in a process of its own (vLLM's engine core),
which is tied to ours; this side renders prompts, admits sequences and reads final outputs.

Invariant: as soon as the engine core is dead, every request in flight and every later one raises
EngineFailed; a caller that is cancelled withdraws its request; no engine core outlives its owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from actors.admission import Admission, admitted
from actors.engine import Chat, Completion, EngineSettings, Reply, Sampling, TokenLogprob
from actors.lifeline import die_with_parent
from actors.model_folder import check_model
from actors.rendering import ChatRenderer
from storage.errors import ConfigurationError, EngineFailed, InputError, ItemError

AHEAD = 0.25
"""Share of sequences beyond `max_in_flight` that wait inside the engine, so that a finished one
is replaced in the next step and not a trip through the event loop later."""

SHUTDOWN_S = 30.0
"""The engine core's time to release shared memory and sockets before it is killed."""
LOGGING = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_LOGGING_STREAM": "ext://sys.stderr"}
"""vLLM's own log, unless the environment says otherwise: standard output belongs to results."""


class VllmEngine:
    """Use `await VllmEngine.open(settings)`."""

    def __init__(
        self,
        llm: Any,
        renderer: ChatRenderer,
        settings: EngineSettings,
        thread: ThreadPoolExecutor,
        sockets: Path,
    ) -> None:
        self._llm = llm
        self._sockets = sockets
        self._renderer = renderer
        self._settings = settings
        self._thread = thread
        self._context: int = llm.model_config.max_model_len
        ahead = max(settings.part, int(settings.max_in_flight * AHEAD))
        self._admission = Admission(settings.max_in_flight + ahead)
        self._numbers = count()
        self._closed = False

    @classmethod
    async def open(cls, settings: EngineSettings) -> VllmEngine:
        """Load the model: seconds for a tiny one, minutes for a large one.

        Raises InputError for a folder that is no model, ConfigurationError for arguments that
        vLLM refuses and EngineFailed where it does not start.
        """
        check_model(settings)
        # The thread that starts the engine core must live as long as it: the kernel ties the
        # child to the thread, not to the process.
        for name, value in LOGGING.items():
            os.environ.setdefault(name, value)
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vllm")
        loop = asyncio.get_running_loop()
        sockets = _socket_folder()
        try:
            renderer = await loop.run_in_executor(thread, ChatRenderer.load, settings)
            # In a list that is emptied: futures and frames keep what they returned, and vLLM's
            # engine must be gone before the interpreter ends.
            started = await loop.run_in_executor(thread, lambda: [_start(settings, sockets)])
        except BaseException:
            thread.shutdown(wait=False)
            shutil.rmtree(sockets, ignore_errors=True)
            raise
        return cls(started.pop(), renderer, settings, thread, sockets)

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Continue `chat`. Raises as `Engine.generate` says."""
        if self._closed:
            raise EngineFailed("the engine is closed")
        prompt = await self._renderer.prompt(chat)
        room = self._context - len(prompt)
        if room < 1:
            raise ItemError("too_long", f"{len(prompt)} tokens in a context of {self._context}")
        tokens = list(prompt)

        async def part(wanted: Sampling) -> Reply:
            return await self._part(tokens, wanted, min(wanted.max_tokens, room))

        return await admitted(part, sampling, self._settings.part, self._admission)

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
            await loop.run_in_executor(self._thread, partial(_stop, llm, self._sockets))
        finally:
            self._renderer.close()
            self._thread.shutdown(wait=False)

    async def _part(self, prompt: list[int], sampling: Sampling, max_tokens: int) -> Reply:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            n=sampling.n,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=max_tokens,
            stop=list(sampling.stop) or None,
            include_stop_str_in_output=sampling.include_stop,
            seed=sampling.seed,
            logprobs=sampling.logprobs or None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        outputs = self._llm.generate(tokens_input(prompt), params, f"{next(self._numbers)}")
        try:
            received = [output async for output in outputs]  # FINAL_ONLY: exactly one
        except VLLMClientError as error:
            raise ConfigurationError(f"vLLM refuses the sampling: {_line(error)}") from error
        except Exception as error:
            raise EngineFailed(f"vLLM: {type(error).__name__}: {_line(error)}") from error
        if len(received) != 1:
            raise EngineFailed(f"vLLM sent {len(received)} outputs where one was asked for")
        final = received[0]
        return Reply(
            completions=tuple(_completion(output, sampling) for output in final.outputs),
            prompt_tokens=len(prompt),
            cached_tokens=final.num_cached_tokens or 0,
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


def _socket_folder() -> Path:
    """A folder for vLLM's sockets, removed with the engine (vLLM leaves them behind).

    A socket's path may have 107 bytes, which a long TMPDIR alone can use up.
    """
    usual = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="stepmill-vllm-", dir=usual if len(usual) < 40 else "/tmp"))


def _start(settings: EngineSettings, sockets: Path) -> Any:
    """Start vLLM; blocks."""
    try:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise ConfigurationError(
            f"vLLM is not installed ({error}): install stepmill[gpu] or stepmill[cpu]"
        ) from error

    on_cpu = current_platform.is_cpu()
    try:
        arguments = AsyncEngineArgs(**engine_arguments(settings, on_cpu))
        # The offline context: vLLM's defaults for throughput, not for latency.
        config = arguments.create_engine_config(UsageContext.LLM_CLASS)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"vLLM refuses its arguments: {_line(error)}") from error
    except OSError as error:  # the hub's way of saying that there is no such model
        raise InputError(f"model {settings.model} can't be loaded: {_line(error)}") from error
    _guard_cores()
    with _environment(settings, on_cpu, sockets):
        try:
            return AsyncLLM.from_vllm_config(config, disable_log_stats=True)
        except Exception as error:
            raise EngineFailed(f"vLLM did not start: {_line(error)}") from error


def _stop(llm: Any, sockets: Path) -> None:
    """Stop vLLM; blocks."""
    llm.shutdown(timeout=SHUTDOWN_S)
    shutil.rmtree(sockets, ignore_errors=True)


def engine_arguments(settings: EngineSettings, on_cpu: bool) -> dict[str, Any]:
    """The arguments of vLLM's engine that settings stand for."""
    arguments: dict[str, Any] = {
        "model": settings.model,
        "tokenizer": settings.tokenizer or settings.model,
        "dtype": settings.dtype,
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_in_flight,
        "tensor_parallel_size": settings.tensor_parallel,
        "enable_prefix_caching": True,
        # The sampling parameters are ours alone; a model folder's own defaults never mix in.
        "generation_config": "vllm",
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if on_cpu:
        arguments["kv_cache_memory_bytes"] = settings.kv_cache_gib << 30
        # A prompt cut into chunks takes its request's random generator back by an offset, which
        # generators of the CPU do not have: with seeds, the engine would crash.
        arguments["enable_chunked_prefill"] = False
        # A prompt that is prefilled in parts makes vLLM rewind the request's random generator,
        # which torch's CPU generator can't do: the whole engine core would die.
        arguments["enable_chunked_prefill"] = False
    else:
        arguments["gpu_memory_utilization"] = settings.gpu_memory
    return arguments | settings.options


@contextlib.contextmanager
def _environment(settings: EngineSettings, on_cpu: bool, sockets: Path) -> Iterator[None]:
    """What an engine core must find in its environment, and our other children must not."""
    wanted = {"VLLM_RPC_BASE_PATH": str(sockets)}
    if on_cpu:
        threads = settings.cpu_threads or max(1, (os.cpu_count() or 2) - 1)
        wanted |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(threads)}
    before = {name: os.environ.get(name) for name in (*wanted, "LD_PRELOAD")}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_unguarded: Callable[..., None] | None = None


def _guard_cores() -> None:
    """Engine cores started from now on die with this process, also when it is killed."""
    global _unguarded
    from vllm.v1.engine.core import EngineCoreProc

    if EngineCoreProc.run_engine_core is not run_guarded_core:
        _unguarded = EngineCoreProc.run_engine_core
        EngineCoreProc.run_engine_core = staticmethod(run_guarded_core)


def run_guarded_core(*arguments: Any, **named: Any) -> None:
    """Entry point of an engine core's process, forked (patched as here) or spawned (fresh)."""
    die_with_parent()
    from vllm.v1.engine.core import EngineCoreProc

    run = _unguarded or EngineCoreProc.run_engine_core
    run(*arguments, **named)


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300] or type(error).__name__
