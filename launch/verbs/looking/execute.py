"""The verb `exec`: runs one script in the sandbox and prints the result.

Invariant: a terminal is not steered by what the script prints; a file or a pipe gets all of it.
With `--json` exactly one object is printed, with the fields of the contract's Execution.
The exit code is 0 if the verdict is `ok`, else 1.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict, replace
from pathlib import Path

from actors.sandbox.contract import Execution, Limits, SandboxSettings, Verdict
from actors.sandbox.opening import run_file
from launch.shown.text import json_line
from storage.plain_text import printable

FIELDS = (
    "verdict", "exit_code", "signal", "stdout", "stderr", "stdout_truncated",
    "stderr_truncated", "wall_s", "cpu_s", "peak_memory_kb", "queued_s",
)  # fmt: skip


def execute_file(file: Path, as_json: bool, wall: float | None, memory: int | None) -> int:
    """Run a script and print the result. Raises InputError for a file that can't be read."""
    limits = Limits()
    if wall is not None:
        limits = replace(limits, wall_s=wall, cpu_s=wall)
    if memory is not None:
        limits = replace(limits, memory_mb=memory)
    execution = asyncio.run(run_file(file, SandboxSettings(slots=1, limits=limits)))
    if as_json:
        whole = asdict(execution)
        print(json_line({name: whole[name] for name in FIELDS}))
    else:
        for stream, said in ((sys.stdout, execution.stdout), (sys.stderr, execution.stderr)):
            stream.write(printable(said) if stream.isatty() else said)
        print(f"[{_summary(execution)}]", file=sys.stderr)
    return 0 if execution.verdict is Verdict.OK else 1


def _summary(execution: Execution) -> str:
    parts = [str(execution.verdict), f"{execution.wall_s:.2f} s", f"{execution.cpu_s:.2f} s CPU"]
    if execution.exit_code is not None:
        parts.append(f"exit code {execution.exit_code}")
    if execution.signal is not None:
        parts.append(f"signal {execution.signal}")
    if execution.stdout_truncated or execution.stderr_truncated:
        parts.append("output cut")
    if execution.backend:
        parts.append(f"in {execution.backend}")
    return ", ".join(parts)
