"""The contract as a table of checks that a cluster's owner runs on their own nodes.

Invariant: every row runs in the given sandbox and compares the result with the contract. An error
of the sandbox fails its row, with the error's text; the other rows still run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from actors.sandbox.box import GRACE_S
from actors.sandbox.contract import (
    Execution,
    Limits,
    Request,
    RequestRejected,
    Sandbox,
    SessionDead,
    Verdict,
)
from storage.errors import InfrastructureError

SHORT = Limits(wall_s=2.0, cpu_s=2.0, memory_mb=256, output_bytes=100_000)
ROOMY = replace(SHORT, wall_s=20.0, cpu_s=20.0)
"""Limits for code that ends by itself, wide enough for a slow machine."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One row of the table."""

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A script, the verdict it must get, and what else must hold."""

    name: str
    code: str
    verdict: Verdict
    holds: Callable[[Execution], bool] = lambda execution: True
    limits: Limits = ROOMY


CHECKS = (
    Check("a script's output comes back", "print(1 + 1)", Verdict.OK, lambda e: e.stdout == "2\n"),
    Check(
        "numpy, sympy and scipy are there",
        "import numpy, sympy, scipy.optimize\nx = sympy.Symbol('x')\nprint(sympy.solve(x**2 - 4))",
        Verdict.OK,
        lambda e: e.stdout == "[-2, 2]\n",
    ),
    Check(
        "output before an exception is kept",
        "print('before')\nraise ValueError('no')",
        Verdict.ERROR,
        lambda e: e.stdout == "before\n" and e.stderr.rstrip().endswith("ValueError: no"),
    ),
    Check("an endless loop ends", "while True: pass", Verdict.TIMEOUT, limits=SHORT),
    Check(
        "sleep costs no CPU time",
        "import time\ntime.sleep(60)",
        Verdict.TIMEOUT,
        lambda e: e.cpu_s < 0.5,
        SHORT,
    ),
    Check("a memory bomb is contained", "x = bytearray(4 << 30)", Verdict.MEMORY),
    Check(
        "an output flood is cut",
        "while True: print('x' * 1000)",
        Verdict.OUTPUT,
        lambda e: e.stdout_truncated and len(e.stdout) == SHORT.output_bytes,
    ),
    Check(
        "its own signal is reported",
        "import os\nos.kill(os.getpid(), 15)",
        Verdict.KILLED,
        lambda e: e.signal == 15,
    ),
    Check(
        "there is no network",
        "import socket\ntry:\n socket.create_connection(('1.1.1.1', 53), 1)\n"
        "except OSError: print('closed')",
        Verdict.OK,
        lambda e: e.stdout == "closed\n",
    ),
    Check(
        "the root file system is read-only and we are nobody",
        "import os\ntry:\n open('/usr/x', 'w')\nexcept OSError: print(os.getuid() > 0)",
        Verdict.OK,
        lambda e: e.stdout == "True\n",
    ),
    Check(
        "namespaces and tracing are refused",
        "import ctypes\nc = ctypes.CDLL(None)\nprint(c.unshare(0x10000000), c.ptrace(0, 0, 0, 0))",
        Verdict.OK,
        lambda e: e.stdout == "-1 -1\n",
    ),
    Check("a solution leaves a file", "open('/tmp/left', 'w').write('x')", Verdict.OK),
    Check(
        "the next solution does not see it",
        "import os\nprint(os.listdir('/tmp'))",
        Verdict.OK,
        lambda e: e.stdout == "[]\n",
    ),
    Check(
        "a fork bomb is contained",
        "import os\nwhile True:\n try: os.fork()\n except OSError: pass",
        Verdict.TIMEOUT,
        lambda e: e.wall_s < SHORT.wall_s + GRACE_S,
        # Many processes spend CPU seconds faster than the clock: leave the clock to end it.
        replace(SHORT, cpu_s=60.0),
    ),
    Check(
        "the sandbox is well afterwards", "print(1 + 1)", Verdict.OK, lambda e: e.stdout == "2\n"
    ),
)


async def self_check(sandbox: Sandbox) -> list[CheckResult]:
    """Run all checks."""
    results = [await _checked(sandbox, check) for check in CHECKS]
    return [*results, await _sessions(sandbox), await _rejections(sandbox)]


async def _checked(sandbox: Sandbox, check: Check) -> CheckResult:
    try:
        seen = await sandbox.run(Request(check.code), check.limits)
    except InfrastructureError as error:
        return CheckResult(check.name, False, f"{type(error).__name__}: {error}")
    passed = seen.verdict is check.verdict and check.holds(seen)
    detail = "" if passed else f"{seen.verdict}: {seen.stdout[-100:]!r} {seen.stderr[-200:]!r}"
    return CheckResult(check.name, passed, detail)


async def _sessions(sandbox: Sandbox) -> CheckResult:
    name = "a session keeps its variables over a failing block, and says when it is dead"
    try:
        async with sandbox.session("self-check") as session:
            await session.run("x = 41", ROOMY)
            failed = await session.run("x += 1\n1 / 0", ROOMY)
            kept = await session.run("print(x)", ROOMY)
            await session.run("import os\nos._exit(0)", ROOMY)
            try:
                await session.run("print(x)", ROOMY)
            except SessionDead:
                passed = failed.verdict is Verdict.ERROR and kept.stdout == "42\n"
                return CheckResult(name, passed, "" if passed else repr((failed, kept)))
    except (InfrastructureError, SessionDead) as error:
        return CheckResult(name, False, f"{type(error).__name__}: {error}")
    return CheckResult(name, False, "a dead session took another block")


async def _rejections(sandbox: Sandbox) -> CheckResult:
    name = "a file outside the working folder is refused"
    try:
        await sandbox.run(Request("", files={"../x": b""}), ROOMY)
    except RequestRejected:
        return CheckResult(name, True)
    except InfrastructureError as error:
        return CheckResult(name, False, f"{type(error).__name__}: {error}")
    return CheckResult(name, False, "it was accepted")
