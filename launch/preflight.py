"""What a build needs, checked before anything is written: problems, models, GPUs, sandbox, store.

Invariant: every finding is one line in plain words with what to do about it; `require` raises
all of them at once, so that nobody has to run into them one after the other.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.engine import EngineSettings
from actors.engines import check_engine
from actors.sandbox.preparation import prepare_sandbox
from storage.errors import ConfigurationError, StepmillError
from storage.stores import open_store
from workflows.configuration import BuildConfig
from workflows.road import MODEL_ROLES

CPU_LIMIT_BYTES = 4 * 1024**3
"""A model larger than this is not run on a CPU: it would take months."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    said: str
    """What was found, or what is missing."""
    remedy: str = ""
    """What to do; empty where all is well."""

    def __str__(self) -> str:
        """One line."""
        return f"{self.what}: {self.said}" + (f"; {self.remedy}" if self.remedy else "")


def gpus_here() -> int:
    """GPUs that this machine shows, without importing torch."""
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(
        ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False, timeout=20
    )
    return len([line for line in listed.stdout.splitlines() if line.startswith("GPU")])


def attempt(what: str, look: Callable[[], str], remedy: str = "") -> Finding:
    """Run one check: what it returns is what was found, a StepmillError is what is missing."""
    try:
        return Finding(what, True, look())
    except StepmillError as error:
        return Finding(what, False, str(error), remedy)


def check_build(config: BuildConfig, address: str | None, input_too: bool) -> Iterator[Finding]:
    """Everything that a build of `config` needs, except the sandbox."""
    if input_too:
        found = Path(config.problems).is_file()
        yield Finding(
            "problems",
            found,
            config.problems if found else f"{config.problems} does not exist",
            "" if found else "write it (problem_id, problem, answer) or set `problems`",
        )
    yield attempt("store", lambda: open_store(config.store).url)
    remote = address or config.cluster.ray_address or os.environ.get("RAY_ADDRESS")
    gpus = 0 if remote else gpus_here()
    for role in MODEL_ROLES:
        settings: EngineSettings = getattr(config.models, role)
        yield attempt(f"models.{role}", lambda settings=settings: _check_model(settings))
        if settings.kind == "vllm" and not remote:
            yield _check_room(role, settings, gpus)


def _check_model(settings: EngineSettings) -> str:
    check_engine(settings)
    return settings.model


def _check_room(role: str, settings: EngineSettings, gpus: int) -> Finding:
    what = f"models.{role}"
    folder = Path(settings.model)
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    on_cpu = folder.is_dir() and weights < CPU_LIMIT_BYTES
    if gpus >= settings.tensor_parallel or (on_cpu and not gpus):
        return Finding(what, True, f"{settings.model} on {gpus or 'no'} GPUs")
    need = f"{settings.tensor_parallel} GPU" + ("s" if settings.tensor_parallel > 1 else "")
    return Finding(
        what,
        False,
        f"{settings.model} needs {need}, this machine has {gpus}",
        "join a cluster with --address, or set `kind: endpoint` and the `url` of a server",
    )


def check_vllm() -> Finding:
    """Whether the engine's package is installed."""
    found = importlib.util.find_spec("vllm") is not None
    return Finding(
        "vllm",
        found,
        "installed" if found else "not installed",
        "" if found else "pip install stepmill[cpu], or stepmill[gpu] on a machine with GPUs",
    )


def require(config: BuildConfig, address: str | None, input_too: bool = True) -> str:
    """Check everything, prepare the sandbox; returns the digest of the sandbox's image.

    Raises ConfigurationError with one line per thing that is missing.
    """
    missing = [found for found in check_build(config, address, input_too) if not found.ok]
    if missing:
        raise ConfigurationError("\n  ".join(["this build can't start:", *map(str, missing)]))
    return asyncio.run(prepare_sandbox(config.sandbox))
