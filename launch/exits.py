"""How a command ends that did not succeed: one message, one exit code.

Invariant: the message of an infrastructure error says that the same command continues.
"""

from __future__ import annotations

import contextlib
import errno
import os
import textwrap

from rich.console import Console

from actors.stopping import was_told_to_stop
from launch.shown.text import say
from launch.streams import flushed, give_up_output
from storage.errors import ConfigurationError, RunStopped, StepmillError
from storage.secrecy import hidden

INFRASTRUCTURE, INTERRUPTED = 3, 130
OF_NAMES = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR)
"""What is wrong with a name itself: the same command would meet it again."""
GONE = ConfigurationError("the working folder was deleted: `cd` to another")


def failed(error: StepmillError, code: int) -> int:
    """Print the error, and return the exit code."""
    cause = error.__cause__
    if isinstance(cause, OSError) and not (working_folder() or os.path.isabs(str(cause.filename))):
        error = GONE
    again = "" if code == 2 else " (what is committed stays; the same command continues)"
    tell(f"{hidden(str(error))}{again}")
    return code


def tell(line: str) -> None:
    """Print a line on standard error, which may be closed or full."""
    with contextlib.suppress(OSError):
        say(f"stepmill: {line}", err=True)


def no_way(error: OSError) -> int:
    """Print what this machine refused (a full disk, a closed pipe), and return the exit code."""
    if isinstance(error, BrokenPipeError):  # the reader has enough
        give_up_output()
        return 0
    if not working_folder():
        return failed(GONE, 2)
    give_up_output()  # it may be what is full
    if error.errno in OF_NAMES:
        named = textwrap.shorten(str(error.filename), 200)
        return failed(ConfigurationError(f"{named}: {error.strerror}: name another"), 2)
    where = error.filename or "a write failed"
    return failed(RunStopped(f"{where}: {error.strerror or error}"), INFRASTRUCTURE)


def working_folder() -> bool:
    """Whether there is one: somebody may have deleted it."""
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def head_lost(reason: str) -> None:
    """End this process, from any thread: without the cluster's head no call into Ray returns."""
    Console(stderr=True).show_cursor()  # a live display may have hidden it
    if was_told_to_stop():
        code = INTERRUPTED
        tell("interrupted; the same command continues")
    else:
        code = failed(RunStopped(reason), INFRASTRUCTURE)
    flushed()
    os._exit(code)
