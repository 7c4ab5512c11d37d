"""Standard streams as shells, schedulers and terminals leave them: closed, full, without Unicode.

Invariant: nothing that a verb opens later is taken for a standard stream, and no character that a
terminal can't show stops a verb.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys


def usable_streams() -> None:
    """Open what is closed, on the null device, and write what can't be encoded as JSON would."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    codecs.register_error("escaped", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="escaped")


def flushed() -> None:
    """Write what is left, while an error can still be told. Raises OSError."""
    sys.stdout.flush()
    sys.stderr.flush()


def give_up_output() -> None:
    """Nothing more can be written: what is left in buffers goes nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""`ä` as `\u00e4`, which is the same text in JSON."""
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)), error.end
