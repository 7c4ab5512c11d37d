"""Turns errors that crossed Ray back into Stepmill's own.

Invariant: an error of the work comes out as it was raised. A dead actor, work that was cancelled
there and Ray's own failures become the InfrastructureError that the caller chose.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ray.exceptions import (
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    TaskCancelledError,
)

from storage.errors import InfrastructureError, WorkerLost

DEATHS = (RayActorError, OutOfMemoryError)
"""What Ray raises for calls of a dead actor. It raises the second for every call of an actor that
its memory monitor killed; that class does not derive from the first."""


@contextlib.contextmanager
def classified(
    what: str,
    died: type[InfrastructureError] = WorkerLost,
    broken: type[InfrastructureError] = InfrastructureError,
) -> Iterator[None]:
    """Wrap remote calls: raise `died` if the actor is dead, `broken` if Ray failed."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(raised := origin(error), TaskCancelledError):
            raise broken(f"{what}: its work was cancelled there") from None
        raise raised from None
    except DEATHS as error:
        raise died(f"{what}: {reason(error)}") from None
    except RayError as error:
        raise broken(f"{what}: {error}") from None


def origin(error: Exception) -> Exception:
    """What work in a task or an actor raised, without the names that Ray puts before it."""
    cause = error.cause if isinstance(error, RayTaskError) else None
    return cause if isinstance(cause, Exception) else error


def reason(error: RayError) -> str:
    """One line: why an actor died, which for a failed start is the last line of its error."""
    lines = str(error).strip().splitlines() or ["its process died"]
    gone = " (its node died)" if "because its node has died" in str(error) else ""
    return lines[-1].strip() if getattr(error, "actor_init_failed", False) else lines[0] + gone
