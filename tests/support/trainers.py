"""The code of public trainers, to run what they make of a row: fetched once, never installed.

Their packages ask for GPUs and gigabytes as soon as they are imported. What reads a dataset is a
module or two: these are imported from the wheel, under packages whose own `__init__` is not run.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".stepmill" / "trainers"
PINS = Path(__file__).with_name("trainers.txt")


def fetched() -> Path:
    """The folder with the trainers' code, made if it is not there or its pins changed."""
    mark = HOME / "fetched.txt"
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists() or mark.read_text() != PINS.read_text():
            wheels = HOME / "wheels"
            # OpenRLHF has wheels of one Python; none of its files is compiled.
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                       "--only-binary=:all:", "--python-version", "3.11", "--platform",
                       "manylinux1_x86_64", "--dest", str(wheels), "--requirement",
                       str(PINS)]  # fmt: skip
            subprocess.run(command, check=True)
            for wheel in wheels.glob("*.whl"):
                with zipfile.ZipFile(wheel) as files:
                    files.extractall(HOME)
            mark.write_text(PINS.read_text())
    return HOME


def package(patch: pytest.MonkeyPatch, name: str) -> None:
    """Make a trainer's package one whose modules can be imported, without running `__init__`."""
    module = ModuleType(name)
    module.__path__ = [str(place) for place in _places(name)]
    assert module.__path__, f"{name} is not in {PINS.name}"
    patch.setitem(sys.modules, name, module)


def stand_in(patch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    """Put a module of a trainer's in place that only holds the names that others take of it."""
    module = ModuleType(name)
    vars(module).update(content)
    patch.setitem(sys.modules, name, module)


def module(patch: pytest.MonkeyPatch, name: str) -> Any:
    """A module of a trainer's, forgotten with the patch."""
    patch.delitem(sys.modules, name, raising=False)
    loaded = import_module(name)
    patch.setitem(sys.modules, name, loaded)
    return loaded


def _places(name: str) -> list[Path]:
    inside = name.replace(".", "/")
    roots = [fetched(), *fetched().glob("*.data/purelib")]
    return [root / inside for root in roots if (root / inside).is_dir()]
