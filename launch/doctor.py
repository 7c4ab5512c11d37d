"""The verb `doctor`: what works on this machine, what does not, and what to do about it.

Invariant: a check that fails says what is missing and one thing to do; nothing is changed beyond
what `build` itself would prepare (the sandbox's engine and image).
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

from actors.sandbox.contract import SandboxSettings
from actors.sandbox.opening import open_sandbox
from actors.sandbox.self_check import self_check
from launch.config import load, store_url
from launch.preflight import (
    Finding,
    attempt,
    check_problems,
    check_sandbox,
    check_vllm,
    check_work,
    gpus_here,
    probed_store,
)
from storage.layout import DEFAULT_STORE
from workflows.configuration import BuildConfig

LITTLE_DISK_GIB = 5


def examine(config_file: Path | None, sandbox_contract: bool, as_json: bool) -> bool:
    """Look at everything and print a table; True where nothing is missing."""
    config = load(config_file) if config_file else None
    settings = config.sandbox if config else SandboxSettings(slots=1)
    findings = list(_look(config, settings))
    if sandbox_contract:
        findings += asyncio.run(_contract(settings))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        _show(findings)
    return all(finding.ok for finding in findings)


def _look(config: BuildConfig | None, settings: SandboxSettings) -> Iterator[Finding]:
    yield _disk()
    yield check_vllm()
    gpus = gpus_here()
    yield Finding("gpu", True, f"{gpus} here" if gpus else "none here; tiny models run on the CPU")
    yield _ray()
    store = config.store if config else store_url(DEFAULT_STORE)
    yield attempt("store", partial(probed_store, store), "see `store` in docs/configuration.md")
    yield check_sandbox(settings)
    if config:
        yield check_problems(config)
        yield from (f for f in check_work(config, None) if f.what != "store")


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


def _show(findings: list[Finding]) -> None:
    table = Table(title="stepmill doctor", title_justify="left")
    for name in ("", "what", "found", "what to do"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        mark = "[green]ok[/green]" if finding.ok else "[red]missing[/red]"
        table.add_row(mark, finding.what, finding.said, finding.remedy)
    Console().print(table)
