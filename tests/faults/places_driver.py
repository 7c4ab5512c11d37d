"""Engines of several GPUs on a real Ray cluster, without models: who is placed, and where.

Run as a process: it joins a cluster, drives empty shards through workers that take GPUs, and prints
one JSON line for each thing that happens. Ends as the command line does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any, cast

import ray

from actors.sandbox.contract import Sandbox, SandboxSettings
from actors.workers.placement import Placement
from actors.workers.ray_workers import RayCluster, ray_session
from actors.workers.worker import ShardProgress, ShardWorker
from storage.errors import InfrastructureError
from storage.runs.commits import Receipt
from workflows.road import StageSpec
from workflows.runs.slots import SlotsNow
from workflows.schedule.driver import Driver
from workflows.schedule.events import Happened
from workflows.schedule.schedule import RolePlan, Schedule


class Idle:
    """A worker that commits empty shards at once, on whatever GPUs it was given."""

    async def open(self) -> None:
        """Nothing to load."""

    async def work(self, stage: str, shard: int) -> Receipt:
        """Say on which GPUs."""
        gpus = sorted(map(int, ray.get_gpu_ids()))
        node = ray.get_runtime_context().get_node_id()
        return Receipt(stage, shard, 1, 1, json.dumps([node, gpus]), "attempt", True)

    work_apart = work

    def progress(self) -> list[ShardProgress]:
        """Nothing takes any time."""
        return []

    async def close(self) -> None:
        """Nothing to release."""


def idle(name: str, sandbox: Sandbox | None) -> ShardWorker:
    """Called inside of the worker's actor."""
    return cast(ShardWorker, Idle())


class Saying(RayCluster):
    """Ray's workers; says when one waits, and where it stands."""

    async def open_on(
        self, worker: int, role: str, node: str, placed: Callable[[str], None]
    ) -> None:
        """Start a worker."""

        def told(where: str) -> None:
            say("placed", role=role, node=where, meant=node)
            placed(where)

        await super().open_on(worker, role, node, told)


def say(what: str, **more: Any) -> None:
    """One line."""
    print(json.dumps({"what": what} | more), flush=True)


def watch(event: Happened) -> None:
    """Say what happened."""
    if event.receipt is not None:
        node, gpus = json.loads(event.receipt.sha256)
        say("committed", role=event.role, node=node, gpus=gpus)
    else:
        say(event.what, role=event.role, cause=event.cause)


def main() -> None:
    """Drive one stage for each role that is named, one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("roles", help="JSON: role -> GPUs of one worker")
    parser.add_argument("--patience", type=float, default=600.0)
    asked = parser.parse_args()
    gpus: dict[str, float] = json.loads(asked.roles)
    road = []
    for role in gpus:
        road.append(StageSpec(role, role, ("problems", *(stage.name for stage in road))))
    plans = {
        role: RolePlan(
            slots=max(1, int(size)), parallel=1, most=4, share=min(100, round(100 * size))
        )
        for role, size in gpus.items()
    }

    async def drive() -> None:
        places = {role: Placement(gpus=size) for role, size in gpus.items()}
        cluster = Saying(dict.fromkeys(gpus, idle), places, SandboxSettings())
        now = SlotsNow(tuple(gpus), None, True, cluster.held)
        slots = now()
        say("begun", slots=slots)
        schedule = Schedule(road, 8, {}, plans, slots, window=8)
        driver = Driver(schedule, cluster, watch, slots_now=now, place_patience_s=asked.patience)
        try:
            await driver.drive()
        finally:
            await cluster.shutdown()

    with ray_session(asked.address, 1):
        try:
            asyncio.run(drive())
        except InfrastructureError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            os._exit(3)


if __name__ == "__main__":
    main()
