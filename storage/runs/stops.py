"""The reason why a run stopped last: the error message of its command.

    runs/{run}/stopped.json      there from the stop until the run goes on

Invariant: the note is for people only. A run goes on as if it were not there. If the store does not
take the note, the run stops all the same.
"""

from __future__ import annotations

import contextlib
import json

from storage.errors import InfrastructureError, NothingFound, ObjectTooLarge
from storage.runs.documents import MOST_BYTES
from storage.runs.layout import stopped_key
from storage.runs.run import Run
from storage.secrecy import hidden


def note_stop(run: Run, reason: str) -> None:
    """Store the reason, if the store takes it."""
    with contextlib.suppress(InfrastructureError):
        run.store.put_new(stopped_key(run.name), json.dumps({"reason": hidden(reason)}).encode())


def stop_reason(run: Run) -> str | None:
    """Why the run stopped; None if it did not stop or went on since."""
    try:
        return str(json.loads(run.store.get(stopped_key(run.name), MOST_BYTES))["reason"])
    except (NothingFound, ObjectTooLarge, ValueError, KeyError, TypeError, RecursionError):
        return None


def forget_stop(run: Run) -> None:
    """Remove the note, because the run goes on. Raises InfrastructureError."""
    with contextlib.suppress(NothingFound):
        run.store.get(stopped_key(run.name))  # without a note, no right to delete is needed
        run.store.delete(stopped_key(run.name))
