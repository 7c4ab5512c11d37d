"""The verb `doctor`: what works on this machine, what does not, and what to do about it.

Invariant: a failed check says what is missing and one thing to do. Nothing is changed, except that
the sandbox's engine and image are prepared as `build` would.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from actors.machines.fitness import package_misfits
from actors.machines.machine import GIB, Machine, look
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.opening import open_sandbox
from actors.sandbox.self_check import self_check
from launch.config import load
from launch.shown.tables import Sheet
from launch.shown.text import json_line, say
from launch.verbs.looking.installed import known, unmet_requirements
from storage.errors import ConfigurationError
from workflows.builds.checks import every_finding
from workflows.builds.configuration import BuildConfig
from workflows.runs.checks import (
    STORE,
    STORE_REMEDY,
    Finding,
    attempt,
    check_sandbox,
    probed_store,
)
from workflows.runs.configuration import ClusterSettings
from workflows.runs.reading import store_url, usual_store
from workflows.runs.site import Site

LITTLE_DISK_GIB = 5
PATIENCE_S = 1.0
"""Seconds to wait for nodes of a cluster: they are looked at as they are."""
OF_A_BUILD = ("run", "problems", "limit", "from")
"""Options that say nothing without a configuration."""


def examine(
    config_file: Path | None,
    overrides: Mapping[str, Any],
    address: str | None,
    source: str | None,
    sandbox_contract: bool,
    as_json: bool,
) -> bool:
    """Check everything and print a table; return whether nothing is missing.

    `overrides`: as `load` takes them. `source`: the run that a build would derive from. Raises
    ConfigurationError for a file that can't be read, and for options that need one.
    """
    about = {**overrides, "from": source}
    if config_file is None and (given := [name for name in OF_A_BUILD if about.get(name)]):
        raise ConfigurationError(f"--{given[0]} is about a build: name its CONFIG as well")
    config = load(config_file, **overrides) if config_file else None
    settings = config.sandbox if config else SandboxSettings(slots=1)
    found = list(findings(config, address, source, store=overrides.get("store")))
    if sandbox_contract:
        found += asyncio.run(_contract(settings))
    if as_json:
        say(json_line([asdict(finding) for finding in found]))
    else:
        Console().print(table_of(found))
    return all(finding.ok for finding in found)


def findings(
    config: BuildConfig | None,
    address: str | None = None,
    source: str | None = None,
    store: str | None = None,
) -> Iterator[Finding]:
    """Look at this machine, and at what a build needs, one thing after the other.

    `store`: which one to look at where there is no configuration.
    """
    cluster = config.cluster if config else ClusterSettings()
    opens = config is None or any(of.kind == "vllm" for of in config.engines.values())
    with Site(cluster, address) as site:
        yield _disk()
        yield _packages()
        if not site.remote:
            yield from _machine(look(), opens)
            yield Finding("ray", True, "a private cluster is started on this machine when needed")
        if config is not None:
            now = replace(cluster, ask={}, place_patience_s=PATIENCE_S)
            yield from every_finding(replace(config, cluster=now), source, site)
            return
        url = store_url(store or usual_store())
        yield attempt(STORE, partial(probed_store, url), STORE_REMEDY)
        if site.remote:
            yield attempt("address", site.head, "`stepmill docs cluster` says how to have one")
        else:
            yield check_sandbox(SandboxSettings(slots=1))


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


async def _contract(settings: SandboxSettings) -> list[Finding]:
    sandbox = open_sandbox(settings)
    try:
        results = await self_check(sandbox)
    finally:
        await sandbox.close()
    return [Finding(f"sandbox: {result.name}", result.passed, result.detail) for result in results]


def table_of(findings: Sequence[Finding]) -> Sheet:
    """Make a table with a row for each finding."""
    table = Sheet("stepmill doctor", headings=2)
    for name in ("", "what", "found", "what to do"):
        table.add_column(name)
    for finding in findings:
        mark = Text("ok", "green") if finding.ok else Text("missing", "red")
        table.add_row(mark, finding.what, finding.said, finding.remedy)
    return table
