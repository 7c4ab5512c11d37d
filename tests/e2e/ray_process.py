"""A process that continues a scripted build on real Ray actors, to be killed in the middle.

python -m tests.e2e.ray_process CONFIG.yaml [--die-after N] [--freeze STAGE] [--lose-node]
    [--list-after N]

Prints one JSON line per event. `--die-after`: it kills itself with SIGKILL at the N-th commit it
hears of; its private cluster must end with it. `--freeze`: the workers are stopped (SIGSTOP) that
hold the first shard of a stage. `--lose-node`: three nodes, and the raylet of one with such workers
is killed. `--list-after`: with those nodes too, the actors that
live at the N-th commit are printed, as `["actor", class, null, "name on node"]`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from actors.sandbox.contract import Sandbox
from actors.workers.contract import Processor
from actors.workers.placement import Placement
from actors.workers.ray_workers import MakeWorker, RayCluster, ray_session
from actors.workers.worker import ShardWorker
from launch.config import load
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.scripted_world import InProcessSandbox, ScriptedWorld, world_problems
from workflows.builds.configuration import BuildConfig
from workflows.road import reads_by_stage
from workflows.runs.driving import continue_run
from workflows.runs.run import finish
from workflows.runs.workers import StageMaker
from workflows.schedule.events import Happened
from workflows.stages import MODEL_ROLES, road_of

PROBLEMS = 14
"""As many as the file of problems that the configuration names."""


def make_worker(config: BuildConfig, role: str, name: str, sandbox: Sandbox | None) -> ShardWorker:
    """A worker with a scripted model; called inside its actor."""
    maker = StageMaker(config, config.run)

    async def stages() -> Mapping[str, Processor]:
        if role == "cpu":
            return maker.pure()
        world = ScriptedWorld(world_problems(PROBLEMS))
        return maker.around(role, world.engine(role), InProcessSandbox())

    run = Run.open(open_store(config.store), config.run)
    return ShardWorker(run, reads_by_stage(road_of(run.spec.stages[1:])), stages, name)


def main() -> None:
    """Continue the run to its end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--die-after", type=int, default=0)
    parser.add_argument("--freeze", default="")
    parser.add_argument("--lose-node", action="store_true")
    parser.add_argument("--list-after", type=int, default=0)
    asked = parser.parse_args()
    config = load(asked.config)
    nodes = Nodes() if asked.lose_node or asked.list_after else None
    committed = 0
    frozen: set[int] = set()
    cluster: RayCluster | None = None

    def tell(event: Happened) -> None:
        nonlocal committed
        where = [event.task.stage, event.task.shard] if event.task else [event.role, None]
        print(json.dumps([event.what, *where, event.cause]), flush=True)
        committed += event.what == "committed"
        if asked.die_after and committed == asked.die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        if event.what == "started" and where[0] == asked.freeze and not frozen:
            assert cluster is not None
            frozen.update(cluster.pids(event.role))
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            if nodes is not None:
                nodes.lose_one_of(event.role)
        if asked.list_after and event.what == "committed" and committed == asked.list_after:
            show_actors()

    makers: dict[str, MakeWorker] = {
        role: partial(make_worker, config, role) for role in (*MODEL_ROLES, "cpu")
    }
    run = Run.open(open_store(config.store), config.run)

    place = Placement(resources={"place": 1} if nodes else {})

    async def drive() -> None:
        nonlocal cluster
        cluster = RayCluster(makers, dict.fromkeys(makers, place), config.sandbox, 1, run=run.name)
        try:
            await continue_run(run, config, cluster, 3, tell)
        finally:
            await cluster.shutdown()

    with ray_session(nodes.address if nodes else None, 1):
        asyncio.run(drive())
    finish(run)
    for pid in frozen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if nodes is not None:
        nodes.close()


def show_actors() -> None:
    """What `ray list actors` would show."""
    from ray.util.state import list_actors

    for actor in list_actors(detail=True):
        if actor.state == "ALIVE":
            place = f"{actor.name} on {actor.node_id}"
            print(json.dumps(["actor", actor.class_name, None, place]), flush=True)


class Nodes:
    """A head and two nodes on this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        small = {"object_store_memory": 80_000_000}
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0} | small)
        self.address: str = self._cluster.address
        self._nodes = [
            self._cluster.add_node(num_cpus=2, resources={"place": 8}, **small) for _ in range(2)
        ]

    def lose_one_of(self, role: str) -> None:
        """Kill the raylet of a node with a worker of a role: all that it holds must be given up."""
        from ray.util.state import list_actors

        alive = [actor for actor in list_actors(detail=True) if actor.state == "ALIVE"]
        held = {actor.node_id for actor in alive if role in actor.name}
        lost = next(node for node in self._nodes if node.node_id in held)
        self._cluster.remove_node(lost, allow_graceful=False)

    def close(self) -> None:
        """Stop everything."""
        self._cluster.shutdown()


if __name__ == "__main__":
    main()
