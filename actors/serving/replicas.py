"""The deployments of a service: replicas with an answerer each, and the door that asks them.

Invariant: a question whose replica died is put to another one, at most `TRIES` times. Whoever goes
away takes the question back from the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import ray
from ray import serve
from ray.actor import ActorHandle
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from actors.engines.start import Progress, Pulse, progress, watched
from actors.ray_errors import classified
from actors.sandbox.executor import RemoteSandbox
from actors.serving.contract import Answerer, MakeAnswerer, MakeDoor
from storage.errors import EngineFailed, UserError, WorkerLost, first_line

TRIES = 3
"""Replicas that a question is put to before the last one's death is its answer."""
REPLICAS, DOOR = "Replica", "Door"
"""Names of the deployments."""


class Replica:
    """A replica: an answerer in a process of its own."""

    async def __init__(  # type: ignore[misc] # Ray Serve awaits it
        self,
        make: MakeAnswerer,
        herald: ActorHandle[Any],
        executors: Sequence[ActorHandle[Any]],
        patience_s: float,
    ) -> None:
        """Open the answerer. `patience_s`: longest start of its engine in which nothing moves."""
        self._herald = herald
        self._answerer: Answerer | None = None
        name = f"replica-{secrets.token_hex(3)}"
        await herald.enter.remote(name, ray.get_runtime_context().current_actor)
        sandbox = RemoteSandbox(executors, name=name) if executors else None
        try:
            self._answerer = await watched(
                make(sandbox), _look, Pulse(name, patience_s), herald.say.remote
            )
        except UserError as error:
            await herald.refuse.remote(error)
            raise
        await herald.say.remote(f"{name} is open")

    async def answer(self, question: Any) -> Any:
        """See `Answerer.answer`."""
        async with self._dying() as answerer:
            return await answerer.answer(question)

    async def stream(self, question: Any) -> AsyncIterator[Any]:
        """See `Answerer.stream`."""
        async with self._dying() as answerer:
            async for part in answerer.stream(question):
                yield part

    @contextlib.asynccontextmanager
    async def _dying(self) -> AsyncIterator[Answerer]:
        """End this process where its engine has failed: Ray Serve opens another one."""
        assert self._answerer is not None
        try:
            yield self._answerer
        except EngineFailed as failed:
            if self._answerer.mortal:
                await self._herald.say.remote(f"a replica ends: {first_line(failed)}")
                os._exit(1)
            raise

    async def __del__(self) -> None:
        if self._answerer is not None:
            await self._answerer.close()


async def _look() -> Progress | None:
    return await asyncio.to_thread(progress)


class RayReplicas:
    """The replicas behind a handle: an implementation of `actors.serving.contract.Replicas`."""

    def __init__(self, handle: DeploymentHandle[Any], herald: ActorHandle[Any], app: str) -> None:
        self._handle = handle
        self._herald = herald
        self._app = app

    async def answer(self, question: Any) -> Any:
        """See `Replicas.answer`. Raises WorkerLost after the last try."""
        for number in range(1, TRIES + 1):
            with self._lost(last=number == TRIES):
                response = self._handle.answer.remote(question)
                try:
                    return await response
                except asyncio.CancelledError:
                    response.cancel()
                    raise
        raise AssertionError("unreachable")

    async def stream(self, question: Any) -> AsyncIterator[Any]:
        """See `Replicas.stream`. Raises WorkerLost after the last try."""
        for number in range(1, TRIES + 1):
            with self._lost(last=number == TRIES):
                parts = self._handle.options(stream=True).stream.remote(question)
                ended = False
                try:
                    async for part in parts:
                        yield part
                    ended = True
                    return
                finally:
                    if not ended:
                        parts.cancel()

    async def running(self) -> int:
        """See `Replicas.running`."""
        status = await asyncio.to_thread(serve.status)
        deployed = status.applications[self._app].deployments.get(REPLICAS)
        return int(deployed.replica_states.get("RUNNING", 0)) if deployed else 0

    @contextlib.contextmanager
    def _lost(self, last: bool) -> Iterator[None]:
        """Pass over the death of a replica, unless it was the last try."""
        try:
            with classified("its replica"), _cancelled_there():
                yield
        except RayServeException as error:
            raise WorkerLost(f"no replica could be asked: {first_line(error)}") from error
        except WorkerLost:
            self._herald.look.remote()
            if last:
                raise


@contextlib.contextmanager
def _cancelled_there() -> Iterator[None]:
    """Raise WorkerLost for work that was cancelled in the replica, where nobody took it back: Ray
    Serve raises the same for both.
    """
    try:
        yield
    except asyncio.CancelledError:
        asking = asyncio.current_task()
        if asking is None or asking.cancelling():
            raise
        raise WorkerLost("its replica: its work was cancelled there") from None


class DoorDeployment:
    """The door in its process; Ray Serve's proxies bring it the requests."""

    async def __init__(  # type: ignore[misc] # Ray Serve awaits it
        self, replicas: DeploymentHandle[Any], herald: ActorHandle[Any], app: str, make: MakeDoor
    ) -> None:
        self._door = make(RayReplicas(replicas, herald, app))

    def __serve_build_asgi_app__(self) -> Any:
        return self._door

    async def drained(self) -> None:
        """See `Door.drained`."""
        await self._door.drained()
