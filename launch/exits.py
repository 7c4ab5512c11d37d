"""How a command ends that did not succeed: one message, one exit code.

Invariant: an infrastructure's end says that the same command continues, wherever it comes from.
"""

from __future__ import annotations

import contextlib
import os
import sys

import typer
from rich.console import Console

from actors.stopping import was_told_to_stop
from launch.streams import give_up_output
from storage.errors import ConfigurationError, RunStopped, StepmillError

INFRASTRUCTURE, INTERRUPTED = 3, 130


def failed(error: StepmillError, code: int) -> int:
    """Say it; returns the exit code."""
    again = "" if code == 2 else " (what is committed stays; the same command continues)"
    with contextlib.suppress(OSError):  # nobody can be told
        typer.echo(f"stepmill: {error}{again}", err=True)
    return code


def no_way(error: OSError) -> int:
    """Say what this machine refused; returns the exit code."""
    if isinstance(error, BrokenPipeError):  # whoever read has enough
        give_up_output()
        return 0
    try:
        os.getcwd()
    except OSError:
        return failed(ConfigurationError("the working folder was deleted: `cd` to another"), 2)
    give_up_output()  # it may be what is full
    where = error.filename or "a write failed"
    return failed(RunStopped(f"{where}: {error.strerror or error}"), INFRASTRUCTURE)


def head_lost(reason: str) -> None:
    """End this process, from any thread: without its head no call into Ray comes back."""
    Console(stderr=True).show_cursor()  # a live display may have hidden it
    if was_told_to_stop():
        code = INTERRUPTED
        typer.echo("stepmill: interrupted; the same command continues", err=True)
    else:
        code = failed(RunStopped(reason), INFRASTRUCTURE)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
