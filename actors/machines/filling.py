"""How many sequences fill an engine: as many as a GPU's KV cache holds at their usual length.

Fewer leave a step of the GPU half empty, which costs nearly as much as a full one. With more, vLLM
takes sequences out of the cache and computes them again.

Invariant: pure. An engine whose cache can't be told is left to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.engines.contract import IN_FLIGHT, EngineSettings
from actors.machines.fitness import BYTES, dtype_for, room_beside, weights_per_gpu
from actors.machines.machine import Machine
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
    share = min(gpu.memory_bytes for gpu in gpus) * engine.memory_share
    held = int((share - weights - room_beside(engine, facts)) / each)
    return max(EVEN, min(IN_FLIGHT, held - held % EVEN))
