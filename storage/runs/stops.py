"""Why a run stopped last, in the words that its command ended with.

    runs/{run}/stopped.json      there from the stop until the run goes on

Invariant: it is for people, never for decisions: a run goes on as if it were not there, and a stop
that can't be noted is a stop all the same.
"""

from __future__ import annotations

import contextlib
import json

from storage.errors import InfrastructureError, NothingFound
from storage.runs.layout import stopped_key
from storage.runs.run import Run


def note_stop(run: Run, reason: str) -> None:
    """Keep the reason, where the store takes it."""
    with contextlib.suppress(InfrastructureError):
        run.store.put_new(stopped_key(run.name), json.dumps({"reason": reason}).encode())


def stop_reason(run: Run) -> str | None:
    """Why the run stopped; None where it did not, or went on."""
    try:
        return str(json.loads(run.store.get(stopped_key(run.name)))["reason"])
    except (NothingFound, ValueError, KeyError, TypeError, RecursionError):
        return None


def forget_stop(run: Run) -> None:
    """The run goes on. Raises InfrastructureError."""
    with contextlib.suppress(NothingFound):
        run.store.get(stopped_key(run.name))  # who continues need not be allowed to delete
        run.store.delete(stopped_key(run.name))
