"""Asks an interpreter what a copy of it needs: where its library is, and where it finds packages.

Invariant: the interpreter itself is asked, without settings of the user, the site or the
environment. Nothing is assumed of its build: Debian's reads `dist-packages`, conda's has its own
libraries.
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
"""The place of a copy in its root folder."""
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
    """What an interpreter said of itself."""

    program: str
    """Path of its file, links resolved."""
    name: str
    """`python3.11`."""
    version: str
    """Version, with date and compiler of its build."""
    machine: str
    libc: str
    standard: str
    """Folder of its standard library."""
    folder: str
    """Name of the library folder below a prefix: `lib`, with some distributions `lib64`."""
    searched: tuple[str, ...]
    """Where a copy below PREFIX looks for packages."""

    @property
    def library(self) -> str:
        """The standard library of the copy, relative to the root folder."""
        return f"{PREFIX}/{self.folder}/{self.name}".lstrip("/")

    @property
    def packages(self) -> str:
        """Where the copy finds packages, relative to the root folder: the first folder it searches,
        preferably in its own library.
        """
        own = [place for place in self.searched if place.startswith(f"/{self.library}/")]
        return (own or self.searched)[0].lstrip("/")

    @property
    def identity(self) -> str:
        """A text that differs between two builds."""
        return " ".join((self.version, self.machine, self.libc, self.packages))


def running() -> str:
    """The interpreter that this process, or its virtual environment, was started with."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


@cache
def ask(program: str) -> Interpreter:
    """Ask an interpreter. Raises SandboxUnavailable if it does not answer."""
    try:
        # Isolated and without `site`: files of the user or the site may print, too.
        done = subprocess.run(
            [program, "-I", "-S", "-c", QUESTIONS], capture_output=True, text=True, check=True
        )
        answers = json.loads(done.stdout)
        told = Interpreter(**{**answers, "searched": tuple(answers["searched"])})
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        raise SandboxUnavailable(f"image: {program} can't be copied: {last}") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SandboxUnavailable(f"image: {program} can't be copied: {error}") from error
    if not told.searched or not Path(told.standard).is_dir():
        raise SandboxUnavailable(f"image: {program} names no folder for its modules")
    return told
