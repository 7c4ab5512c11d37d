"""Starting and stopping vLLM: its arguments, its environment, and its engine core's life.

Invariant: an engine core dies with the process that started it, also when that is killed; what a
core needs in its environment is there while it starts and is not left to our other children.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from actors.engines.contract import EngineSettings
from actors.engines.log import ENGINE_LOG, EngineLog, cause_of, write_to_log
from actors.lifeline import die_with_parent
from actors.machines.fitting import Fit
from actors.owned_folder import OwnedFolder
from storage.errors import (
    ConfigurationError,
    EngineFailed,
    EngineRefused,
    InputError,
    StepmillError,
)

LONGEST_CAUSE = 600
SHUTDOWN_S = 10.0
"""The engine core's time to release shared memory and sockets before it is killed."""
LOGGING = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_LOGGING_STREAM": "ext://sys.stderr"}
"""vLLM's own log, unless the environment says otherwise: standard output belongs to results."""


def start(settings: EngineSettings, sockets: Path, log: EngineLog, fit: Fit) -> Any:
    """Start vLLM; blocks. `sockets`: a folder for its sockets; `log` hears its processes.

    Raises ConfigurationError, InputError or EngineFailed.
    """
    try:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise ConfigurationError(
            f"vLLM is not installed ({error}): run ./install.sh in a clone of Stepmill"
        ) from error

    if not current_platform.device_type:
        raise EngineRefused(
            "vLLM sees neither a GPU nor its build for processors here: `stepmill doctor` says "
            "what is installed and what is missing"
        )
    on_cpu = current_platform.is_cpu()
    with engine_environment(settings, on_cpu, sockets, log):
        try:
            arguments = AsyncEngineArgs(**engine_arguments(settings, on_cpu, *fit))
            # The offline context: vLLM's defaults for throughput, not for latency.
            config = arguments.create_engine_config(UsageContext.LLM_CLASS)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"vLLM refuses its arguments: {one_line(error)}") from error
        except OSError as error:  # the hub's way of saying that there is no such model
            raise InputError(f"model {settings.model}: {one_line(error)}") from error
        if on_cpu and settings.tensor_parallel == 1:
            # vLLM puts a CPU worker into a third process because it binds threads by environment;
            # ours are not bound, and the engine core is spawned with the environment it needs.
            config.parallel_config.distributed_executor_backend = "uni"
        _guard_cores()
        try:
            return AsyncLLM.from_vllm_config(config, disable_log_stats=True)
        except Exception as error:
            raise death(settings, log, error, "can't be opened") from error


def death(
    settings: EngineSettings, log: EngineLog, error: BaseException, what: str
) -> StepmillError:
    """The error that says why an engine died, by what it wrote last."""
    cause = cause_of(log.text(), error)
    kind = EngineRefused if cause.hopeless else EngineFailed
    return kind(f"{settings.model} {what}: {cause.said[:LONGEST_CAUSE]}")


def stop(llm: Any, log: EngineLog, sockets: OwnedFolder) -> None:
    """Stop vLLM; blocks."""
    llm.shutdown(timeout=SHUTDOWN_S)
    log.close()
    sockets.remove()


def engine_arguments(
    settings: EngineSettings, on_cpu: bool, eager: bool, cache_bytes: int | None = None
) -> dict[str, Any]:
    """The arguments of vLLM's engine that settings stand for; `cache_bytes`: on a GPU."""
    arguments: dict[str, Any] = {
        "model": settings.model,
        "tokenizer": settings.tokenizer or settings.model,
        "dtype": settings.dtype,
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.in_flight,
        "tensor_parallel_size": settings.tensor_parallel,
        # In a placement group vLLM would take Ray, and wait for the GPUs that our actor holds.
        "distributed_executor_backend": "mp" if settings.tensor_parallel > 1 else "uni",
        "enable_prefix_caching": True,
        "enforce_eager": eager,
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
    else:
        arguments["gpu_memory_utilization"] = settings.memory_share
        if cache_bytes is not None:
            arguments["kv_cache_memory_bytes"] = cache_bytes
    return arguments | settings.options


@contextlib.contextmanager
def engine_environment(
    settings: EngineSettings, on_cpu: bool, sockets: Path, log: EngineLog
) -> Iterator[None]:
    """What an engine core must find in its environment, and our other children must not."""
    wanted = {
        "VLLM_RPC_BASE_PATH": str(sockets),
        ENGINE_LOG: str(log.path),
        # The setting decides, and not what else is set: it is in the run's spec.
        "VLLM_BATCH_INVARIANT": str(int(settings.batch_invariant)),
    }
    if settings.batch_invariant:  # kernels are chosen while modules are imported: freshly
        wanted["VLLM_WORKER_MULTIPROCESSING_METHOD"] = "spawn"
    if on_cpu:
        threads = settings.cpu_threads or max(1, (os.cpu_count() or 2) - 1)
        wanted |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(threads)}
    # vLLM preloads its allocator by LD_PRELOAD, which no sandbox or grader should inherit.
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
    write_to_log()
    from vllm.v1.engine.core import EngineCoreProc

    run = _unguarded or EngineCoreProc.run_engine_core
    run(*arguments, **named)


def one_line(error: BaseException) -> str:
    """What an error says, in one line; of one of pydantic's, what its validators say."""
    said = str(error)
    if isinstance(error, ValidationError):
        said = "; ".join(part["msg"].removeprefix("Value error, ") for part in error.errors())
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return " ".join(lines)[:300] or type(error).__name__
