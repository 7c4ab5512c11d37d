"""Trainers' own clients, each in an environment of its own, since their pins clash with ours.

The scripts beside this module run there, without Stepmill; `environment_of` makes the environment
once, below .stepmill/clients.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HOME = HERE.parents[2] / ".stepmill" / "clients"


def environment_of(name: str) -> Path:
    """The Python of a trainer's environment, made if it is not there or its pins changed."""
    pins, folder = HERE / f"{name}.txt", HOME / name
    mark = folder / "installed.txt"
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists() or mark.read_text() != pins.read_text():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            lines = pins.read_text().splitlines()
            options = [line.removeprefix("# pip: ") for line in lines if line.startswith("# pip: ")]
            pip = [str(folder / "bin" / "pip"), "install", "--quiet", *options]
            subprocess.run([*pip, "--requirement", str(pins)], check=True)
            mark.write_text(pins.read_text())
    return folder / "bin" / "python"


def ran(name: str, asked: dict[str, Any], **environ: str) -> Any:
    """What a trainer's script (`NAME_client.py`) answers, in its environment."""
    done = subprocess.run(
        [str(environment_of(name)), str(HERE / f"{name}_client.py")],
        input=json.dumps(asked), env={"PATH": "/usr/bin:/bin", "HOME": str(HOME), **environ},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
