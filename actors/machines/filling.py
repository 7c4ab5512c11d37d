"""What room an engine has for its KV cache, and how many sequences of the usual length fill it.

With fewer sequences a step of the GPU is half empty, which costs nearly as much as a full one. With
more, vLLM takes sequences out of the cache and computes them again.

Invariant: pure. An engine whose cache can't be told is left to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.engines.contract import IN_FLIGHT, EngineSettings
from actors.machines.fitness import BYTES, dtype_for, room_beside, weights_per_gpu
from actors.machines.machine import Gpu, Machine
from actors.models.facts import ModelFacts

EVEN = 8
"""What it is a multiple of, and at least."""


def filling(
    machines: Sequence[Machine], engine: EngineSettings, facts: ModelFacts, tokens: int
) -> int | None:
    """Sequences of `tokens` tokens each that fill the smallest of these GPUs, at most `IN_FLIGHT`.

    None where there is no GPU, or its memory, the weights' size or the cache's is not known.
    """
    gpus = [gpu for machine in machines for gpu in machine.gpus if gpu.memory_bytes]
    dtype = dtype_for(machines, engine, facts)
    weights = weights_per_gpu(engine, facts, dtype)
    if not gpus or weights is None or facts.cached is None:
        return None
    of_8_bits = str(engine.options.get("kv_cache_dtype", "")).startswith("fp8")
    number_bytes = 1 if of_8_bits else BYTES.get(dtype, 2)
    each = tokens * facts.cached * number_bytes / engine.tensor_parallel
    held = int(_room(gpus, engine, facts, weights) / each)
    return max(EVEN, min(IN_FLIGHT, held - held % EVEN))


def cache_bytes(machine: Machine, engine: EngineSettings, facts: ModelFacts) -> int | None:
    """Bytes of KV cache of an engine that shares a GPU; None: vLLM takes what is free. On a shared
    GPU it must not, since another engine may be taking the same memory.
    """
    if engine.gpu_share is None or not machine.gpus:
        return None
    weights = weights_per_gpu(engine, facts, dtype_for([machine], engine, facts)) or 0.0
    return int(_room(machine.gpus, engine, facts, weights))


def _room(gpus: Sequence[Gpu], engine: EngineSettings, facts: ModelFacts, weights: float) -> float:
    """Bytes for the cache in an engine's share of the smallest GPU."""
    share = min(gpu.memory_bytes for gpu in gpus) * engine.memory_share
    return share - weights - room_beside(engine, facts)
