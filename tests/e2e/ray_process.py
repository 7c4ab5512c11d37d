"""A process that continues a scripted build on real Ray actors, to be killed in the middle.

python -m tests.e2e.ray_process CONFIG.yaml [--die-after N]

Prints one JSON line per event. With `--die-after` it kills itself with SIGKILL at the N-th commit
it hears of; its private cluster must end with it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from actors.ray_cluster import MakeWorker, Placement, RayCluster, ray_session
from actors.sandbox.contract import Sandbox
from actors.stage import Stage
from actors.worker import ShardWorker
from launch.config import load
from storage.runs import Run
from storage.stores import open_store
from tests.scripted_world import InProcessSandbox, ScriptedWorld, world_problems
from workflows.build import continue_run, finish
from workflows.configuration import BuildConfig
from workflows.drive import Happened
from workflows.road import MODEL_ROLES
from workflows.stages import StageMaker, reads

PROBLEMS = 14
"""As many as the file of problems that the configuration names."""


def make_worker(
    config: BuildConfig, role: str, name: str, sandbox: Sandbox | None
) -> ShardWorker:
    """A worker with a scripted model; called inside its actor."""
    maker = StageMaker(config, config.run)

    async def stages() -> Mapping[str, Stage]:
        if role == "cpu":
            return maker.pure()
        world = ScriptedWorld(world_problems(PROBLEMS))
        return maker.around(role, world.engine(role), InProcessSandbox())

    return ShardWorker(Run.open(open_store(config.store), config.run), reads(), stages, name)


def main() -> None:
    """Continue the run to its end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--die-after", type=int, default=0)
    asked = parser.parse_args()
    config = load(asked.config)
    committed = 0

    def tell(event: Happened) -> None:
        nonlocal committed
        where = [event.task.stage, event.task.shard] if event.task else [event.role, None]
        print(json.dumps([event.what, *where, event.cause]), flush=True)
        committed += event.what == "committed"
        if asked.die_after and committed == asked.die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    makers: dict[str, MakeWorker] = {
        role: partial(make_worker, config, role) for role in (*MODEL_ROLES, "cpu")
    }
    run = Run.open(open_store(config.store), config.run)

    async def drive() -> None:
        cluster = RayCluster(makers, {role: Placement() for role in makers}, config.sandbox, 1)
        try:
            await continue_run(run, config, cluster, 3, tell)
        finally:
            await cluster.shutdown()

    with ray_session(None, 1):
        asyncio.run(drive())
    finish(run)


if __name__ == "__main__":
    main()
