"""Working off a run of any road: cluster, progress, signals.

Invariant: Ctrl-C and SIGTERM stop the work, close every worker and leave a run that the same
command continues; a run that is committed to its end is left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from rich.console import Console

from actors.ray_cluster import (
    MakeWorker,
    RayCluster,
    kept_nodes,
    nodes_asked,
    ray_session,
    slots_of_cluster,
)
from launch.endings import head_lost
from launch.preflight import is_remote
from launch.progress import BuildProgress
from storage.errors import InfrastructureError
from storage.runs import Run
from workflows.build import continue_run, standing
from workflows.drive import SlotsNow
from workflows.placement import ENGINES
from workflows.stages import placements
from workflows.workload import Workload, asked_nodes, kept_roles, missing_nodes

METERS_EVERY_SECONDS = 1.0
NODES_EVERY_S = 2.0
NODES_PATIENCE_S = 1800
"""Until nodes that were asked for have come up; a cloud takes some minutes."""


def complete(
    run: Run, config: Workload, address: str | None, made: Mapping[str, MakeWorker]
) -> None:
    """Make and commit whatever the run lacks; `made` says how a worker of each role is made."""
    if run.success() is not None or standing(run).finished:
        return
    with terminable():
        _drive_all(run, config, address, made)


def _drive_all(
    run: Run, config: Workload, address: str | None, made: Mapping[str, MakeWorker]
) -> None:
    executors = config.cluster.sandbox_actors
    roles = tuple(config.engines)
    joined = is_remote(config, address)
    address = address or config.cluster.ray_address
    asked = asked_nodes(config)
    with ray_session(address, executors or 1, head_lost), nodes_asked(asked):
        if joined:
            _wait_for_nodes(asked)
        fixed = config.cluster.engine_slots
        slots = _slots_now(roles, fixed)
        gpus, kept = kept_nodes(("GPU",)).get("GPU", 0), kept_roles(config, slots)
        # What the specification names is what runs, on every node.
        sandbox = replace(config.sandbox, image=run.spec.image_digest or config.sandbox.image)
        cluster = RayCluster(made, placements(config, gpus, kept), sandbox, executors)
        found = standing(run)
        before = {stage: len(shards) for stage, shards in found.done.items()}
        later = partial(_slots_now, roles, fixed) if joined else None
        with BuildProgress(run.name, run.spec.stages[1:], found.shards, before) as progress:
            try:
                asyncio.run(_drive(run, config, cluster, slots, later, progress))
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None


def _wait_for_nodes(asked: Sequence[Mapping[str, float]]) -> None:
    """Until there is a node of each kind that was asked for; raises InfrastructureError."""
    kinds = ("GPU", *{kind for bundle in asked for kind in bundle})
    console, given_up = Console(stderr=True), time.monotonic() + NODES_PATIENCE_S
    said: list[str] = []
    while missing := missing_nodes(asked, kept_nodes(kinds)):
        if time.monotonic() > given_up:
            raise InfrastructureError(
                f"no node for {', '.join(missing)} came up in {NODES_PATIENCE_S // 60} minutes; "
                f"`ray status` says why. Or take it out of cluster.ask"
            )
        if missing != said:
            console.print(f"waiting for nodes: {', '.join(missing)}", highlight=False)
            said = missing
        time.sleep(NODES_EVERY_S)


def _slots_now(roles: Sequence[str], fixed: int | None) -> Mapping[str, int]:
    """Slots at this moment."""
    there = slots_of_cluster(roles)
    return {ENGINES: fixed} if fixed else there


async def _drive(
    run: Run,
    config: Workload,
    cluster: RayCluster,
    slots: Mapping[str, int],
    later: SlotsNow | None,
    progress: BuildProgress,
) -> None:
    async def watch_meters() -> None:
        while True:
            await asyncio.sleep(METERS_EVERY_SECONDS)
            progress.meters(await cluster.progress())

    here = asyncio.current_task()
    assert here is not None
    # Ray set a handler of its own, which would end the process before its workers are closed.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, here.cancel)
    watching = asyncio.create_task(watch_meters())
    try:
        await continue_run(run, config, cluster, slots, progress.happened, later)
    finally:
        watching.cancel()
        await cluster.shutdown()


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM stop the work as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.stderr.flush()
