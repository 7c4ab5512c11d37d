"""The Ray actors of a run: one class per role, so that a list of actors shows the roles.

`ray list actors` shows the class, the name (`RUN/ROLE-NUMBER`), the node and the process of each.
Code runs in a `CodeExecutor` (`actors.sandbox.executor`), called `RUN/executor-NUMBER`.

Invariant: the classes differ only in their names.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence

from ray.actor import ActorHandle

from actors.engines.start import Progress, progress
from actors.sandbox.contract import Sandbox
from actors.sandbox.executor import RemoteSandbox
from actors.workers.worker import ShardProgress, ShardWorker
from storage.runs.commits import Receipt

MakeWorker = Callable[[str, Sandbox | None], ShardWorker]
"""Makes a worker of one role, inside its actor, from the worker's name and a sandbox."""


class WorkerActor:
    """An actor with one worker in its own process."""

    def __init__(self, make: MakeWorker, name: str, executors: Sequence[ActorHandle]) -> None:
        sandbox = RemoteSandbox(executors, name=name) if executors else None
        self._worker = make(name, sandbox)

    async def open(self) -> int:
        """Load what the role needs; return the process id."""
        await self._worker.open()
        return os.getpid()

    async def starting(self) -> Progress | None:
        """How far the start of an engine is; None: no engine is starting."""
        return await asyncio.to_thread(progress)

    async def work(self, stage: str, shard: int) -> Receipt:
        """Make and commit one shard."""
        return await self._worker.work(stage, shard)

    async def isolate(self, stage: str, shard: int) -> Receipt:
        """Make and commit one shard part by part, to find an item that kills workers."""
        return await self._worker.work_apart(stage, shard)

    async def hungry(self) -> None:
        """Return once no request waits for the worker's engine."""
        await self._worker.hungry()

    async def progress(self) -> list[ShardProgress]:
        """How far the shards in flight have come."""
        return self._worker.progress()

    async def close(self) -> None:
        """Release everything."""
        await self._worker.close()


class Sampler(WorkerActor):
    """Samples solutions."""


class Completer(WorkerActor):
    """Samples rollouts from states."""


class Prover(WorkerActor):
    """Samples rollouts from the same states with another model."""


class RationaleWriter(WorkerActor):
    """Writes analyses and code."""


class Judge(WorkerActor):
    """Judges without code, and repairs steps."""


class Verifier(WorkerActor):
    """Scores responses."""


class Generator(WorkerActor):
    """Refines responses."""


class Labeller(WorkerActor):
    """Runs the stages without a model: labels, consensus, export."""


ACTORS: Mapping[str, type[WorkerActor]] = {
    "policy": Sampler,
    "completer": Completer,
    "prover": Prover,
    "rationale": RationaleWriter,
    "judge": Judge,
    "verifier": Verifier,
    "generator": Generator,
    "cpu": Labeller,
}


def actor_of(role: str) -> type[WorkerActor]:
    """The class of the workers of a role."""
    return ACTORS.get(role, WorkerActor)
