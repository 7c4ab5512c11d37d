"""The verb `doctor`: what works on this machine, what does not, and what to do about it.

Invariant: a failed check says what is missing and one thing to do. Nothing is changed, except that
the sandbox's engine and image are prepared as `build` would.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from actors.machines.fitness import package_misfits
from actors.machines.looking import look_at
from actors.machines.machine import GIB, Machine, look
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.opening import open_sandbox
from actors.sandbox.self_check import self_check
from launch.config import load
from launch.verbs.looking.installed import known, unmet_requirements
from storage.runs.layout import DEFAULT_STORE
from workflows.builds.configuration import BuildConfig
from workflows.builds.run import check_files
from workflows.runs.checks import (
    Finding,
    attempt,
    check_models,
    check_nodes,
    check_sandbox,
    probed_store,
)
from workflows.runs.reading import store_url
from workflows.runs.settling import recalled
from workflows.runs.site import wanted

LITTLE_DISK_GIB = 5


def examine(config_file: Path | None, sandbox_contract: bool, as_json: bool) -> bool:
    """Check everything and print a table; return whether nothing is missing."""
    config = load(config_file) if config_file else None
    settings = config.sandbox if config else SandboxSettings(slots=1)
    found = list(findings(config, settings))
    if sandbox_contract:
        found += asyncio.run(_contract(settings))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in found], ensure_ascii=False))
    else:
        _show(found)
    return all(finding.ok for finding in found)


def findings(config: BuildConfig | None, settings: SandboxSettings) -> Iterator[Finding]:
    """Look at this machine, and at what a build needs, one thing after the other."""
    yield _disk()
    yield _packages()
    opens = config is None or any(of.kind == "vllm" for of in config.engines.values())
    yield from _machine(look(), opens)
    yield _ray()
    store = config.store if config else store_url(DEFAULT_STORE)
    yield attempt(
        "store", partial(probed_store, store), "`stepmill docs configuration` says more of `store`"
    )
    yield check_sandbox(settings)
    if config:
        yield check_files(config)
        yield from check_nodes(config)
        config = recalled(config)
        yield from check_models(config, [look_at(wanted(config, list(config.engines), False))])


def _packages() -> Finding:
    """Check that the installed packages meet each other's requirements."""
    unmet = [str(requirement) for requirement in unmet_requirements() if not known(requirement)]
    text = "; ".join(unmet[:3]) + (f" and {len(unmet) - 3} more" if len(unmet) > 3 else "")
    remedy = "install the pinned set again: ./install.sh" if unmet else ""
    return Finding("packages", not unmet, text or "fit each other", remedy)


def _machine(machine: Machine, opens: bool) -> Iterator[Finding]:
    """Check the installed engine against the GPUs of the machine; `opens`: whether it is needed."""
    unfit = list(package_misfits(machine))
    for misfit in unfit:
        where = "" if opens else ", and none is needed: the models are a server's"
        yield Finding("engine", not opens, misfit.said + where, misfit.remedy if opens else "")
    if not unfit:
        built = "CUDA {}.{}".format(*machine.torch_cuda) if machine.torch_cuda else "processors"
        yield Finding("engine", True, f"{machine.engine}, torch {machine.torch} for {built}")
    if not machine.gpus:
        half = "" if machine.bfloat16 else ", which does not multiply bfloat16 (float32 is taken)"
        yield Finding("gpu", True, f"none here; tiny models run on the processor{half}")
    for gpu in machine.gpus:
        free = f"{gpu.free_bytes / GIB:.0f} of {gpu.memory_bytes / GIB:.0f} GiB free"
        cut = "" if gpu.slices is None else f", cut into {len(gpu.slices)} MIG slices"
        yield Finding("gpu", True, f"{gpu.name}, {free}, driver {machine.driver}{cut}")


def _disk() -> Finding:
    free = shutil.disk_usage(tempfile.gettempdir()).free / 1024**3
    enough = free >= LITTLE_DISK_GIB
    return Finding(
        "disk",
        enough,
        f"{free:.0f} GiB free for temporary files",
        "" if enough else f"free at least {LITTLE_DISK_GIB} GiB",
    )


def _ray() -> Finding:
    address = os.environ.get("RAY_ADDRESS")
    if address:
        return Finding("ray", True, f"$RAY_ADDRESS is {address}")
    return Finding("ray", True, "a private cluster is started on this machine when needed")


async def _contract(settings: SandboxSettings) -> list[Finding]:
    sandbox = open_sandbox(settings)
    try:
        results = await self_check(sandbox)
    finally:
        await sandbox.close()
    return [Finding(f"sandbox: {result.name}", result.passed, result.detail) for result in results]


def _show(found: list[Finding]) -> None:
    table = Table(title="stepmill doctor", title_justify="left")
    for name in ("", "what", "found", "what to do"):
        table.add_column(name, overflow="fold")
    for finding in found:
        mark = "[green]ok[/green]" if finding.ok else "[red]missing[/red]"
        table.add_row(mark, finding.what, finding.said, finding.remedy)
    Console().print(table)
