"""Makes standard streams usable that are closed, full or without Unicode.

Invariant: no file that a verb opens later becomes a standard stream. No character that a terminal
can't show stops a verb.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
import os
import signal
import sys
import threading

from storage.plain_text import printable

AGAIN_S = 0.01
"""Seconds until then: the callback has ended."""


def usable_streams() -> None:
    """Open closed streams on the null device; escape characters that they can't encode."""
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


class Warnings(logging.Handler):
    """Shows what libraries of ours warn of, such as a store that does not answer."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line, above a live display if there is one."""
        with contextlib.suppress(OSError):
            print(f"stepmill: {printable(record.getMessage())}", file=sys.stderr)


def hear_ctrl_c_again() -> None:
    """Let a Ctrl-C come once more that fell into a callback of Python's own, which drops errors."""

    def dropped(what: sys.UnraisableHookArgs) -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            threading.Timer(AGAIN_S, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            sys.__unraisablehook__(what)

    sys.unraisablehook = dropped


def show_warnings() -> None:
    """Print warnings of this process on standard error."""
    ours = logging.getLogger("stepmill")
    ours.addHandler(Warnings())
    ours.propagate = False


def flushed() -> None:
    """Write what is buffered, while an error can still be printed. Raises OSError."""
    sys.stdout.flush()
    sys.stderr.flush()


def give_up_output() -> None:
    """Point standard output to the null device, since it can't be written any more."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""Escape `ä` as `\u00e4`, which is the same text in JSON."""
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)), error.end
