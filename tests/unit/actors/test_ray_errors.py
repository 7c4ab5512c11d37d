"""Errors that crossed Ray come out with a type that the schedule knows."""

from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError, GetTimeoutError, RayTaskError

from actors.ray_errors import classified
from storage.errors import InfrastructureError, ItemError, SandboxLost, WorkerLost


def _crossed(cause: Exception) -> BaseException:
    """As Ray raises it at the caller: a type of both."""
    error: BaseException = RayTaskError("work", "traceback", cause).as_instanceof_cause()
    return error


def test_an_error_of_the_work_comes_out_as_it_was_raised() -> None:
    cause = ItemError("too_long", "p1")
    with pytest.raises(ItemError) as caught, classified("worker"):
        raise _crossed(cause)
    assert type(caught.value) is ItemError


def test_a_dead_actor_and_rays_own_trouble_are_the_infrastructures() -> None:
    with pytest.raises(WorkerLost, match="worker 1"), classified("worker 1"):
        raise ActorDiedError()
    with pytest.raises(InfrastructureError, match="worker 1"), classified("worker 1"):
        raise GetTimeoutError("late")
    for error in (ActorDiedError(), GetTimeoutError("late")):
        with pytest.raises(SandboxLost, match="run"), classified("run", SandboxLost, SandboxLost):
            raise error


def test_an_actor_that_could_not_be_made_says_what_was_raised() -> None:
    cause = ImportError("no z3")
    raised = RayTaskError("__init__", "Traceback\n  File x\nImportError: no z3", cause)
    with pytest.raises(WorkerLost, match=r"^worker 1: ImportError: no z3$"), classified("worker 1"):
        raise ActorDiedError(raised)
