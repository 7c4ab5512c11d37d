"""A driver that says what its workers do, to be killed with them: part of `benchmarks.chaos`.

python -m tests.faults.chaos_driver CONFIG.yaml STORE ADDRESS SLOTS [--timeless]

One JSON line per event, with the machine's monotonic clock:

    found   what was committed when it started
    up      a worker opened: number, role, process
    start   a shard was given to a worker
    end     it came back: committed (with its tokens), or not and why
    gone    a worker was closed

`--timeless`: executions are stored with 0 for the seconds that they took and waited. Nothing else
in a row is measured, so that with scripted models two builds agree byte for byte.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from actors.sandbox.contract import Execution, Limits, Request, Sandbox, Session
from actors.workers.placement import Placement
from actors.workers.ray_workers import MakeWorker, RayCluster, ray_session
from actors.workers.worker import ShardWorker
from launch.config import load
from storage.objects.opening import open_store
from storage.runs.commits import Receipt
from storage.runs.run import Run
from workflows.runs.driving import continue_run, standing
from workflows.runs.run import finish
from workflows.runs.workers import makers


def say(what: str, **fields: Any) -> None:
    """Write one event to standard output, in one piece."""
    event = {"what": what, "t": time.monotonic()} | fields
    os.write(1, (json.dumps(event) + "\n").encode())


@dataclass(frozen=True)
class Timeless:
    """A sandbox or a session of one, whose executions take no time."""

    inner: Any

    async def run(self, request: Request | str, limits: Limits | None = None) -> Execution:
        """Run as the inner one does."""
        execution: Execution = await self.inner.run(request, limits)
        return replace(execution, wall_s=0.0, queued_s=0.0)

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[Session]:
        """A session as the inner one's."""
        async with self.inner.session(key) as session:
            yield Timeless(session)

    async def close(self) -> None:
        """Close the inner one."""
        await self.inner.close()


def timeless(make: MakeWorker, name: str, sandbox: Sandbox | None) -> ShardWorker:
    """A worker whose sandbox tells no times; called inside its actor."""
    return make(name, Timeless(sandbox) if sandbox is not None else None)


class TellingCluster(RayCluster):
    """Ray's workers, with every event told."""

    async def open_on(
        self, worker: int, role: str, node: str, placed: Callable[[str], None]
    ) -> None:
        """Start a worker and say where it runs."""
        before = set(self.pids(role))
        await super().open_on(worker, role, node, placed)
        for pid in set(self.pids(role)) - before:
            say("up", worker=worker, role=role, pid=pid)

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        """Make and commit one shard."""
        return await self._told(super().run(worker, stage, shard), worker, stage, shard)

    async def isolate(self, worker: int, stage: str, shard: int) -> Receipt:
        """The same, item by item."""
        return await self._told(super().isolate(worker, stage, shard), worker, stage, shard)

    async def _told(
        self, call: Coroutine[Any, Any, Receipt], worker: int, stage: str, shard: int
    ) -> Receipt:
        at = {"worker": worker, "stage": stage, "shard": shard}
        say("start", **at)
        try:
            receipt = await call
        except Exception as error:
            say("end", ok=False, cause=f"{type(error).__name__}: {error}"[:300], **at)
            raise
        say("end", ok=True, tokens=receipt.counts.get("tokens", 0), **at)
        return receipt

    async def close(self, worker: int) -> None:
        """Stop a worker."""
        say("gone", worker=worker)
        await super().close(worker)


def main() -> None:
    """Continue the run to its end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("store")
    parser.add_argument("address")
    parser.add_argument("slots", type=int)
    parser.add_argument("--timeless", action="store_true")
    asked = parser.parse_args()
    config = load(asked.config, store=asked.store)
    run = Run.open(open_store(config.store), config.run)
    done = {stage: sorted(shards) for stage, shards in standing(run).done.items()}
    say("found", done=done)
    made = makers(run, config)
    if asked.timeless:
        made = {role: partial(timeless, make) for role, make in made.items()}
    places = {
        role: Placement(resources={"place": 1}, needs_sandbox=role == "rationale") for role in made
    }

    async def drive() -> None:
        cluster = TellingCluster(made, places, config.sandbox, 1)
        try:
            await continue_run(run, config, cluster, asked.slots, lambda event: None)
        finally:
            await cluster.shutdown()

    with ray_session(asked.address, 1):
        asyncio.run(drive())
    finish(run)


if __name__ == "__main__":
    main()
