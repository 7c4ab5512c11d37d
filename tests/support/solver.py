"""Z3 in this process."""

from __future__ import annotations

import contextlib
import io

from demo.formal import programs


def decided(problem: str, steps: tuple[str, ...]) -> list[bool]:
    """What Z3 says of each step, in this process."""
    names: dict[str, object] = {}
    verdicts = []
    for program in programs(problem, steps):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(program, names)
        verdicts.append(printed.getvalue().split()[-1] == "True")
    return verdicts
