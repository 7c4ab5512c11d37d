"""Debian's `spin` at work on a model: every state of one world, or the property that breaks first.

Invariant: a verdict is of a search that came to its end, or to an error.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

MEMORY_MIB = 1000
DEPTH = 20_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a search found."""

    states: int
    broken: str | None
    """The property that does not hold."""
    unreached: frozenset[tuple[str, int]]
    """Process and line of the steps that were never taken."""
    says: str
    """What the checker printed."""


def search(
    model: Path, folder: Path, defines: list[str], ltl: str | None = None, *, quick: bool = False
) -> Verdict:
    """Check the assertions and that nothing waits for ever, or the property `ltl` instead.

    `quick` is for a search that finds an error soon: compiling takes longer than searching.
    Skips the test where `spin` or a C compiler is missing.
    """
    missing = [program for program in ("spin", "gcc") if not shutil.which(program)]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}: apt-get install spin gcc libc6-dev")
    kind = [] if ltl else ["-DSAFETY", "-DNOCLAIM"]
    limits = ["-DCOLLAPSE", f"-DMEMLIM={MEMORY_MIB}"]
    _run(folder, "spin", *(f"-D{name}" for name in defines), "-a", str(model))
    _run(folder, "gcc", "-O0" if quick else "-O1", "-w", *kind, *limits, "-o", "pan", "pan.c")
    says = _run(folder, "./pan", f"-m{DEPTH}", *(["-a", "-N", ltl] if ltl else []))
    states = re.search(r"(\d+) states, stored", says)
    assert states, says
    broken = _broken(says, ltl)
    assert broken or "Search not completed" not in says, says
    return Verdict(int(states[1]), broken, _unreached(says), says)


def _broken(says: str, ltl: str | None) -> str | None:
    if re.search(r"errors: 0$", says, re.MULTILINE):
        return None
    found = re.search(r"^pan:1: (?:assertion violated )?(.+) \(at depth", says, re.MULTILINE)
    assert found, says
    return ltl if found[1] == "acceptance cycle" else found[1]


def _unreached(says: str) -> frozenset[tuple[str, int]]:
    process, steps = "", set()
    for line in says.splitlines():
        if found := re.match(r"unreached in (?:proctype|claim) (\w+)", line):
            process = found[1]
        elif (step := re.match(r"\t\S+?:(\d+), state \d+, (.+)", line)) and step[2] != '"-end-"':
            steps.add((process, int(step[1])))
    return frozenset(steps)


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
