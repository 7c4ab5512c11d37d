"""Errors that crossed Ray come out with a type that the schedule knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from ray.exceptions import (
    ActorDiedError,
    GetTimeoutError,
    OutOfMemoryError,
    RayTaskError,
    TaskCancelledError,
)

from actors.ray_errors import classified, origin
from actors.sandbox.contract import SandboxSettings
from actors.workers import ray_workers
from actors.workers.placement import Placement
from actors.workers.ray_workers import RayCluster
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


def test_an_error_is_traced_to_the_work_that_raised_it() -> None:
    cause, own = ValueError("port 80"), GetTimeoutError("late")
    crossed = _crossed(cause)
    assert isinstance(crossed, Exception)
    assert origin(crossed) is cause
    assert origin(own) is own


def test_a_dead_actor_and_rays_own_trouble_are_the_infrastructures() -> None:
    with pytest.raises(WorkerLost, match="worker 1"), classified("worker 1"):
        raise ActorDiedError()
    with pytest.raises(InfrastructureError, match="worker 1"), classified("worker 1"):
        raise GetTimeoutError("late")
    for error in (ActorDiedError(), GetTimeoutError("late")):
        with pytest.raises(SandboxLost, match="run"), classified("run", SandboxLost, SandboxLost):
            raise error


def test_work_that_was_cancelled_in_its_actor_is_the_infrastructures_trouble() -> None:
    cancelled = _crossed(TaskCancelledError())
    with pytest.raises(SandboxLost, match="run: its work was cancelled there"):
        with classified("run", SandboxLost, SandboxLost):
            raise cancelled


def test_an_actor_that_could_not_be_made_says_what_was_raised() -> None:
    cause = ImportError("no z3")
    raised = RayTaskError("__init__", "Traceback\n  File x\nImportError: no z3", cause)
    with pytest.raises(WorkerLost, match=r"^worker 1: ImportError: no z3$"), classified("worker 1"):
        raise ActorDiedError(raised)


def test_an_actor_that_the_memory_monitor_killed_is_dead() -> None:
    said = "Task was killed due to the node running low on memory.\nMemory on the node was ..."
    with pytest.raises(WorkerLost, match=r"^worker 1: Task was .* low on memory\.$"):
        with classified("worker 1"):
            raise OutOfMemoryError(said)
    with pytest.raises(SandboxLost), classified("run", SandboxLost, SandboxLost):
        raise OutOfMemoryError(said)


class FakeActor:
    """A worker as an actor's handle shows it: every call is answered, or raises `death`."""

    def __init__(self) -> None:
        self.death: Exception | None = None
        self.asked = 0
        self.frozen = False

    def __getattr__(self, method: str) -> Any:
        async def call(*arguments: object) -> object:
            await asyncio.sleep(0)
            if method == "progress":
                self.asked += 1
                if self.frozen:
                    await asyncio.Event().wait()
            if self.death is not None:
                raise self.death
            return [] if method == "progress" else 4711

        return type("Method", (), {"remote": staticmethod(call)})


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> tuple[RayCluster, list[FakeActor]]:
    """A cluster of three workers, and the actors behind them."""
    actors: list[FakeActor] = []

    class Remote:
        def options(self, **options: object) -> Remote:
            return self

        def remote(self, *arguments: object) -> FakeActor:
            actors.append(FakeActor())
            return actors[-1]

    def make(name: str, sandbox: object) -> Any:
        raise NotImplementedError

    monkeypatch.setattr(ray_workers.ray, "remote", lambda kind: Remote())
    monkeypatch.setattr(ray_workers.ray, "kill", lambda actor: None)
    made = RayCluster({"policy": make}, {"policy": Placement()}, SandboxSettings())
    for worker in range(3):
        await made.open(worker, "policy")
    return made, actors


async def _polled(cluster: RayCluster, until: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not until():
            await cluster.progress()


@pytest.mark.parametrize("death", [ActorDiedError(), OutOfMemoryError("low on memory")], ids=str)
async def test_a_worker_that_dies_idle_is_found_once_and_not_asked_again(
    cluster: tuple[RayCluster, list[FakeActor]], death: Exception
) -> None:
    workers, actors = cluster
    await _polled(workers, lambda: actors[2].asked > 1)
    assert workers.found_dead() == {}
    actors[1].death = death
    asked = actors[2].asked
    await _polled(workers, lambda: actors[2].asked > asked + 3)
    found = workers.found_dead()
    assert list(found) == [1]
    assert str(found[1]).startswith("worker policy-1: ")
    asked_dead = actors[1].asked
    await _polled(workers, lambda: actors[2].asked > asked + 6)
    assert actors[1].asked == asked_dead
    assert workers.found_dead() == {}
    assert len(workers.pids("policy")) == 2


async def test_rays_own_trouble_with_a_question_is_no_death(
    cluster: tuple[RayCluster, list[FakeActor]],
) -> None:
    workers, actors = cluster
    actors[1].death = GetTimeoutError("late")
    await _polled(workers, lambda: actors[1].asked > 3)
    assert workers.found_dead() == {}


async def test_a_worker_that_was_closed_is_not_found_dead(
    cluster: tuple[RayCluster, list[FakeActor]],
) -> None:
    workers, actors = cluster
    await workers.progress()
    actors[1].death = ActorDiedError()  # as of the question that is under way
    await workers.close(1)
    await _polled(workers, lambda: actors[2].asked > 3)
    assert workers.found_dead() == {}


async def test_when_a_call_tells_that_a_node_died_its_other_workers_are_known_by_then(
    cluster: tuple[RayCluster, list[FakeActor]],
) -> None:
    workers, actors = cluster
    actors[0].death = actors[1].death = ActorDiedError()
    with pytest.raises(WorkerLost):
        await workers.run(0, "sample", 7)
    assert sorted(workers.found_dead()) == [0, 1]


async def test_a_worker_that_does_not_answer_keeps_no_death_secret(
    cluster: tuple[RayCluster, list[FakeActor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_workers, "ANSWER_SECONDS", 0.01)
    workers, actors = cluster
    actors[0].death, actors[2].frozen = ActorDiedError(), True
    with pytest.raises(WorkerLost):
        await workers.run(0, "sample", 7)
    assert list(workers.found_dead()) == [0]
    await workers.shutdown()
