"""Named places where a test may stop or kill the process.

`STEPMILL_FAULT` holds entries `point=action`, separated by `;`. A point may name a place:
`after_data@estimate/3=kill` acts only there. Actions:

    kill             SIGKILL to this process
    kill-once:PATH   create PATH, then SIGKILL; nothing where PATH exists, so a restart gets past
    stop             SIGSTOP to this process
    wait:FIFO        block until another process opened FIFO for writing and closed it
    fail             raise StoreUnavailable

Points of the commit: before_data, after_data, after_commit. Of the run: after_spec,
before_input, after_input, before_success, after_success. Of `remove`: after_tombstone.

Invariant: without the variable a fault point costs one look-up of the environment.
"""

from __future__ import annotations

import os
import signal

from storage.errors import ConfigurationError, StoreUnavailable

VARIABLE = "STEPMILL_FAULT"


def fault(point: str, place: str = "") -> None:
    """Do what `STEPMILL_FAULT` names for this point, or for this point at `place`."""
    entries = os.environ.get(VARIABLE)
    if not entries:
        return
    for entry in entries.split(";"):
        name, _, action = entry.strip().partition("=")
        if name in (point, f"{point}@{place}"):
            _act(action)


def _act(action: str) -> None:
    verb, _, path = action.partition(":")
    if verb == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "kill-once":
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif verb == "wait":
        with open(path, "rb") as fifo:
            fifo.read()
    elif verb == "fail":
        raise StoreUnavailable("a fault point asked for this failure")
    else:
        raise ConfigurationError(f"{VARIABLE}: no such action: {action!r}")
