"""Errors that crossed Ray, given their own type again.

Invariant: an error of the work comes out as it was raised; a dead actor and Ray's own trouble are
the infrastructure's, in the words and the type that the caller chose.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

from storage.errors import InfrastructureError, WorkerLost

DEATHS = (RayActorError, OutOfMemoryError)
"""What Ray raises for calls of a dead actor. The second is for one that its memory monitor killed,
for every later call too, and is not of the first kind."""


@contextlib.contextmanager
def classified(
    what: str,
    died: type[InfrastructureError] = WorkerLost,
    broken: type[InfrastructureError] = InfrastructureError,
) -> Iterator[None]:
    """Around remote calls. Raises `died` where the actor is dead, `broken` where Ray failed."""
    try:
        yield
    except RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, Exception) else error) from None
    except DEATHS as error:
        raise died(f"{what}: {reason(error)}") from None
    except RayError as error:
        raise broken(f"{what}: {error}") from None


def reason(error: RayError) -> str:
    """One line that says why an actor died; what was raised while it was made stands last."""
    lines = str(error).strip().splitlines() or ["its process died"]
    return lines[-1].strip() if getattr(error, "actor_init_failed", False) else lines[0]
