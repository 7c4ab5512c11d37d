"""What vLLM is told, as far as it depends on where the engine is opened."""

from __future__ import annotations

import pytest

from actors.engines.contract import EngineSettings
from actors.engines.vllm_core import engine_arguments

GIB = 1 << 30


def test_an_engine_that_shares_a_gpu_takes_its_share_and_measures_nothing() -> None:
    engine = EngineSettings(model="m", gpu_share=0.3)
    told = engine_arguments(engine, on_cpu=False, eager=True, cache_bytes=7 * GIB)
    assert told["gpu_memory_utilization"] == pytest.approx(0.3 * 0.9)
    assert told["kv_cache_memory_bytes"] == 7 * GIB


def test_one_that_has_a_gpu_to_itself_takes_what_is_free_and_one_without_what_is_set() -> None:
    alone = engine_arguments(EngineSettings(model="m"), on_cpu=False, eager=True)
    assert alone["gpu_memory_utilization"] == 0.9
    assert "kv_cache_memory_bytes" not in alone
    engine = EngineSettings(model="m", gpu_share=0.3, kv_cache_gib=2)
    told = engine_arguments(engine, on_cpu=True, eager=True)
    assert told["kv_cache_memory_bytes"] == 2 * GIB


@pytest.mark.parametrize(("parallel", "backend"), [(1, "uni"), (4, "mp")])
def test_ray_is_never_vllms_executor(parallel: int, backend: str) -> None:
    engine = EngineSettings(model="m", tensor_parallel=parallel)
    told = engine_arguments(engine, on_cpu=False, eager=True)
    assert told["distributed_executor_backend"] == backend
