"""What an interpreter says of itself, so that it can be copied: where its library is, and where a
copy will look for packages.

Invariant: nothing is assumed of how an interpreter was built or packed (Debian's reads
`dist-packages`, a conda one has libraries of its own); what matters for the copy is asked of the
interpreter itself, without the settings of the user, of the site or of an environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from storage.errors import SandboxUnavailable

PREFIX = "/usr/local"
"""Where a copy stands in its root folder."""
QUESTIONS = f"""
import json, os, platform, site, sys
print(json.dumps({{
    "program": os.path.realpath(sys._base_executable or sys.executable),
    "name": "python%d.%d" % sys.version_info[:2],
    "version": sys.version,
    "machine": platform.machine(),
    "libc": "-".join(platform.libc_ver()),
    "standard": os.path.dirname(os.__file__),
    "folder": sys.platlibdir,
    "searched": site.getsitepackages([{PREFIX!r}]),
}}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What it said."""

    program: str
    """Its file, links resolved."""
    name: str
    """`python3.11`."""
    version: str
    """With date and compiler of its build."""
    machine: str
    libc: str
    standard: str
    """Folder of its standard library."""
    folder: str
    """`lib`, or what stands for it below a prefix (`lib64` with some distributions)."""
    searched: tuple[str, ...]
    """Where a copy below PREFIX looks for packages."""

    @property
    def library(self) -> str:
        """The standard library of the copy, relative to the root folder."""
        return f"{PREFIX}/{self.folder}/{self.name}".lstrip("/")

    @property
    def packages(self) -> str:
        """Where the copy finds packages, relative to the root folder: of the folders that it
        searches the one in its own library, or the first.
        """
        own = [place for place in self.searched if place.startswith(f"/{self.library}/")]
        return (own or self.searched)[0].lstrip("/")

    @property
    def identity(self) -> str:
        """What tells two builds apart."""
        return " ".join((self.version, self.machine, self.libc, self.packages))


def running() -> str:
    """The interpreter that this process, or its virtual environment, was started with."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


@cache
def ask(program: str) -> Interpreter:
    """Ask an interpreter. Raises SandboxUnavailable where it does not answer."""
    try:
        # Isolated and without `site`: what files of its user or its site print is no answer.
        done = subprocess.run(
            [program, "-I", "-S", "-c", QUESTIONS], capture_output=True, text=True, check=True
        )
        said = json.loads(done.stdout)
        told = Interpreter(**{**said, "searched": tuple(said["searched"])})
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        raise SandboxUnavailable(f"image: {program} can't be copied: {last}") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SandboxUnavailable(f"image: {program} can't be copied: {error}") from error
    if not told.searched or not Path(told.standard).is_dir():
        raise SandboxUnavailable(f"image: {program} names no folder for its modules")
    return told
