"""Installs the recipe's packages into a folder, with pip or with uv, whichever is installed.

Invariant: every machine and installer gives the same files. Settings of user and site decide where
packages come from, not where they go. The installer's notes are removed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from actors.sandbox.image.interpreter import Interpreter, running
from storage.errors import SandboxUnavailable

NOTES = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json")
"""Notes of who installed a package and how. RECORD differs between machines: it holds digests of
scripts that name the interpreter's path."""
WHERE_TO = ("--no-user", "--prefix=", "--root=/")
"""Overrules pip's environment and configuration files. `--root=` would mean this folder."""


def install(packages: list[str], target: Path, interpreter: Interpreter) -> None:
    """Install exactly these wheels for an interpreter. Raises SandboxUnavailable."""
    exactly = ["--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(target)]
    command = [*_installer(interpreter), *exactly, *packages]
    environment = {
        **os.environ,
        "PIP_REQUIRE_VIRTUALENV": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        error = " ".join(done.stderr.split())[-500:]
        raise SandboxUnavailable(f"image: {' '.join(command[:4])}: {error}")
    for folder in [path for path in target.rglob("tests") if path.is_dir()]:
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(target / "bin", ignore_errors=True)
    for note in [path for name in NOTES for path in target.glob(f"*.dist-info/{name}")]:
        note.unlink()
    (target / ".lock").unlink(missing_ok=True)


def _installer(interpreter: Interpreter) -> list[str]:
    if importlib.util.find_spec("pip"):
        mine = interpreter.program == running()
        other = [] if mine else ["--python", interpreter.program]
        return [
            *(sys.executable, "-m", "pip", *other, "install"),
            *("--no-compile", "--root-user-action=ignore", *WHERE_TO),
        ]
    # An environment that uv made has no pip.
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", interpreter.program, "--link-mode", "copy"]
    raise SandboxUnavailable(
        f"image: neither pip nor uv is here: run `{sys.executable} -m ensurepip`, or install uv"
    )
