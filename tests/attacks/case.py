"""One row of the attack table: a script, its limits, and what must come of it.

A script prints BREACH when it got something that it must not get; no row may ever show that word.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from actors.sandbox import Execution, Limits, Request, Verdict

TABLE_LIMITS = Limits(
    wall_s=1.5,
    cpu_s=1.5,
    memory_mb=192,
    pids=24,
    scratch_mb=8,
    scratch_files=256,
    open_files=64,
    file_mb=4,
)

BUSY_S = 15.0
"""What a busy machine may need for code that ends by itself: no row is about how fast that is."""

PRELUDE = """
import ctypes, errno, os, signal, socket, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a
                                                  for a in arguments))
    return result, errno.errorcode.get(ctypes.get_errno(), "0")
def refused(what, attempt, kinds=OSError):
    try:
        got = attempt()
    except kinds as error:
        print("refused", what, type(error).__name__, getattr(error, "errno", ""))
    else:
        print("BREACH", what, got)
"""


@dataclass(frozen=True)
class Case:
    """`number` is the row's number in the list of attacks."""

    number: int
    title: str
    code: str
    verdicts: tuple[str, ...]
    holds: Callable[[Execution], bool] = lambda seen: True
    limits: Limits = TABLE_LIMITS
    files: Mapping[str, bytes] = field(default_factory=dict)
    cannot: Mapping[str, str] = field(default_factory=dict)
    """Backend -> why it can't promise this row."""
    exact: bool = False
    """Play it under its own limits, which is what the row is about."""
    slow_on: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Its name in reports."""
        return f"{self.number:02}-{self.title.replace(' ', '-')}"

    @property
    def request(self) -> Request:
        """The request that plays it."""
        return Request(PRELUDE + textwrap.dedent(self.code), files=self.files)

    @property
    def within(self) -> Limits:
        """The limits that it runs under."""
        if self.exact or "timeout" in self.verdicts:
            return self.limits
        return replace(self.limits, wall_s=BUSY_S, cpu_s=BUSY_S)

    def check(self, seen: Execution) -> None:
        """Assert that the outcome is the promised one."""
        assert "BREACH" not in seen.stdout, seen.stdout[-2000:]
        assert seen.verdict in tuple(Verdict(name) for name in self.verdicts), seen
        assert self.holds(seen), seen


ROOMY_LIMITS = replace(TABLE_LIMITS, wall_s=BUSY_S, cpu_s=BUSY_S)


def with_limits(**changes: float) -> Limits:
    """Return the table's limits with some changed."""
    return replace(TABLE_LIMITS, **changes)  # type: ignore[arg-type]
