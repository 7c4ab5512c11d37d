"""The driver's loop: it applies the schedule's actions to a cluster and tells it what happened.

It holds receipts, never rows. The cluster is a protocol, so that the loop runs and is tested
without Ray.

Invariant: an action that was decided is either applied or reported back to the schedule; when
the loop ends, by success or by an error, every worker it opened has been closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Protocol

from storage.commits import Receipt
from storage.errors import (
    EngineFailed,
    RunStopped,
    StoreRefused,
    UserError,
    WorkerLost,
)
from workflows.schedule import Action, Close, Open, Run, Schedule, ShardExhausted, Task


class Cluster(Protocol):
    """Where workers run."""

    async def open(self, worker: int, role: str) -> None:
        """Start a worker; raises WorkerLost or a UserError."""
        ...

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        """Make and commit one shard."""
        ...

    async def close(self, worker: int) -> None:
        """Stop a worker; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Happened:
    """What the loop tells whoever watches: one thing that happened."""

    what: str
    """`opening`, `opened`, `closed`, `started`, `committed`, `failed`, `lost`."""
    role: str = ""
    task: Task | None = None
    receipt: Receipt | None = None
    cause: str = ""


Watch = Callable[[Happened], None]


class Driver:
    """Runs one schedule on one cluster."""

    def __init__(self, schedule: Schedule, cluster: Cluster, watch: Watch) -> None:
        self._schedule = schedule
        self._cluster = cluster
        self._watch = watch
        self._roles: dict[int, str] = {}
        self._under_way: dict[asyncio.Task[Receipt | None], Action] = {}
        self._failures = 0

    async def drive(self) -> None:
        """Run until every shard is committed.

        Raises UserError and StoreRefused as they come, RunStopped for anything that three tries
        did not get past.
        """
        try:
            while not self._schedule.finished:
                for action in self._schedule.decide():
                    self._apply(action)
                if not self._under_way:
                    raise RunStopped(
                        "nothing can be started: a model needs more engine slots than there are"
                    )
                done, _ = await asyncio.wait(
                    self._under_way, return_when=asyncio.FIRST_COMPLETED
                )
                for finished in done:
                    await self._settle(self._under_way.pop(finished), finished)
        except ShardExhausted as error:
            raise RunStopped(str(error)) from None
        finally:
            await self._close_all()

    def _apply(self, action: Action) -> None:
        work: Coroutine[None, None, Receipt | None]
        match action:
            case Open(role, worker):
                self._roles[worker] = role
                self._watch(Happened("opening", role))
                work = self._cluster.open(worker, role)
            case Close(worker):
                work = self._cluster.close(worker)
            case Run(worker, task):
                self._watch(Happened("started", self._roles[worker], task))
                work = self._cluster.run(worker, task.stage, task.shard)
        self._under_way[asyncio.create_task(work)] = action

    async def _settle(self, action: Action, finished: asyncio.Task[Receipt | None]) -> None:
        error = finished.exception()
        match action:
            case Open(role=role, worker=worker):
                if error is None:
                    self._schedule.opened(worker)
                    self._watch(Happened("opened", role))
                else:
                    await self._open_failed(worker, role, error)
            case Close(worker):
                self._schedule.closed(worker)
                self._watch(Happened("closed", self._roles.pop(worker, "")))
            case Run(worker, task):
                if error is None:
                    self._schedule.committed(worker, task)
                    role = self._roles.get(worker, "")
                    self._watch(Happened("committed", role, task, finished.result()))
                else:
                    await self._run_failed(worker, task, error)

    async def _open_failed(self, worker: int, role: str, error: BaseException) -> None:
        if isinstance(error, UserError):
            raise error
        self._roles.pop(worker, None)
        await self._cluster.close(worker)
        self._schedule.lost(worker, str(error))
        self._watch(Happened("lost", role, cause=str(error)))
        self._failures += 1
        if self._failures >= 3:
            raise RunStopped(f"a worker for {role} could not be started: {error}")

    async def _run_failed(self, worker: int, task: Task, error: BaseException) -> None:
        """Decide the family: the user's and a refusing store stop the run, a dead worker or
        engine takes its other shards with it, anything else is this try's."""
        if isinstance(error, (UserError, StoreRefused, asyncio.CancelledError)):
            raise error
        cause = f"{type(error).__name__}: {error}"
        role = self._roles.get(worker, "")
        self._watch(Happened("failed", role, task, cause=cause))
        if isinstance(error, (WorkerLost, EngineFailed)):
            if worker in self._roles:
                self._roles.pop(worker)
                await self._cluster.close(worker)
                self._schedule.lost(worker, cause)
                self._watch(Happened("lost", role, cause=cause))
        else:
            self._schedule.failed(worker, task, cause)

    async def _close_all(self) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self._under_way.clear()
        await asyncio.gather(*(self._cluster.close(w) for w in list(self._roles)))
        self._roles.clear()
