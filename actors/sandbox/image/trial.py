"""The block that must run in a root folder or image before it counts as built.

Invariant: a root folder or image in which code can't run is never kept. A failed trial raises an
error of one line that says what the interpreter missed.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable
from pathlib import Path

from actors.sandbox.box import GRACE_S, Box
from actors.sandbox.contract import Limits, Request, SandboxSettings, Verdict
from actors.sandbox.guest.frames import FrameError
from actors.sandbox.image.interpreter import PREFIX, Interpreter
from actors.sandbox.wire import execution, run_frame
from storage.errors import SandboxLost, SandboxUnavailable

BLOCK = """
import numpy, sympy
x = sympy.Symbol("x")
print(sympy.solve(x**2 - 4, x), round(numpy.linalg.det(numpy.eye(2))))
"""
ANSWER = "[-2, 2] 1\n"
PATIENCE = Limits(wall_s=60.0, cpu_s=60.0)
"""Limits of the trial block, wide because a busy machine is not broken."""
START_S = 300.0
BEFORE = """
import importlib, sys
import stepmill_guest.supervisor
from stepmill_guest.warmth import warm_up
if missing := warm_up([]):
    raise ModuleNotFoundError("No module named " + ", ".join(map(repr, missing)))
for name in sys.argv[2:]:
    importlib.import_module(name)
"""
AFTER = """
import os
library = os.path.join(sys.argv[1], "lib")
with open("/proc/self/maps") as file:
    mapped = {line.split(None, 5)[5].strip() for line in file if ".so" in line}
strange = {os.path.basename(path) for path in mapped if not path.startswith(sys.argv[1] + "/")}
if missing := sorted(strange - set(os.listdir(library))):
    raise ImportError("not copied: " + ", ".join(missing))
"""
"""Checks that the folder has a copy of each library that the loader took from this machine."""


def try_root(root: Path, interpreter: Interpreter, modules: list[str]) -> None:
    """Import the supervisor and the modules for code, and run a block, with the interpreter, loader
    and libraries of the folder. This needs no rights and no engine.

    Raises SandboxUnavailable.
    """
    root = root.resolve()
    library = root / "lib"
    loader = next(iter(sorted(library.glob("ld-*.so*"))), None)
    if loader is None:
        raise SandboxUnavailable(f"image: {interpreter.program} names no loader: is it static?")
    command = [
        *(str(loader), "--inhibit-cache", "--inhibit-rpath", "", "--library-path", str(library)),
        *(f"{root}{PREFIX}/bin/{interpreter.name}", "-P", "-s", "-B"),
        *("-c", BEFORE + BLOCK + AFTER, str(root), *modules),
    ]
    environment = {"LANG": "C.UTF-8", "HOME": "/nonexistent", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=environment,
            timeout=START_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxUnavailable(f"image: no code runs in {root}: {error}") from error
    if done.returncode or done.stdout != ANSWER:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SandboxUnavailable(
            f"image: a copy of {interpreter.program} runs no code: {last} "
            f"(it looks for packages in {', '.join(interpreter.searched)})"
        )


async def try_box(opening: Awaitable[Box], settings: SandboxSettings) -> None:
    """Run a block in a box that is being opened, and close it. Raises SandboxUnavailable."""
    frame = run_frame(Request(BLOCK), PATIENCE, settings)
    try:
        box = await opening
        try:
            result = await box.ask(frame, "result", PATIENCE.wall_s + GRACE_S)
            done = execution(result, 0.0, box.id)
        finally:
            await asyncio.shield(box.close())
    except (SandboxLost, FrameError) as error:
        raise SandboxUnavailable(str(error)) from error
    if done.verdict is not Verdict.OK or done.stdout != ANSWER:
        last = (done.stderr.strip().splitlines() or [repr(done.stdout[-200:])])[-1]
        raise SandboxUnavailable(f"a block ended as {done.verdict}: {last}")
