"""A Ray cluster of several nodes on this machine, and who in it can be killed.

Invariant: only processes and containers that belong to this cluster are ever killed: actors are
children of its raylets, engine cores of its actors, containers carry the label of its executors.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from docker import APIClient

from actors.owned_folder import ray_folder
from actors.sandbox.docker.box import LABEL
from actors.sandbox.docker.engine import find_engine
from actors.sandbox.image.rootfs import state_dir
from storage.errors import SandboxUnavailable

STARTS = 3
SMALL = {"object_store_memory": 80_000_000}
HEALTH = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_worker_niceness": "0",
}


class Nodes:
    """A head that runs no worker, and nodes that do; one that is lost is replaced."""

    def __init__(self, count: int = 2) -> None:
        """Start them, in a folder of their own."""
        os.environ.update(HEALTH)
        os.environ.pop("RAY_ADDRESS", None)
        from ray.cluster_utils import Cluster

        self._folder = ray_folder()
        # Ray writes a cluster's address into its default folder, which may never have been there.
        os.environ["RAY_TMPDIR"] = str(self._folder.path)
        head = {"num_cpus": 0, "include_dashboard": False} | SMALL
        self._cluster = started(lambda: Cluster(initialize_head=True, head_node_args=head))
        self.address: str = self._cluster.address
        self._nodes = [self._add() for _ in range(count)]

    def _add(self) -> Any:
        resources = {"place": 8, "sandbox": 1}
        return started(lambda: self._cluster.add_node(num_cpus=2, resources=resources, **SMALL))

    def _raylet(self, node: Any) -> int:
        pid: int = node.all_processes["raylet"][0].process.pid
        return pid

    def raylets(self) -> dict[int, int]:
        """Process of each raylet -> its place among the nodes."""
        return {self._raylet(node): at for at, node in enumerate(self._nodes)}

    def actors(self, kind: str) -> list[int]:
        """Processes of the actors of a class, on any node."""
        ours = self.raylets()
        return [
            pid for pid, parent, name in processes() if parent in ours and f"ray::{kind}" in name
        ]

    def node_of(self, pid: int) -> int | None:
        """Where a process runs: the place of its raylet among the nodes."""
        parents = {child: parent for child, parent, _ in processes()}
        return self.raylets().get(parents.get(pid, 0))

    def lose(self, at: int) -> None:
        """Kill a node's raylet and all with it (SIGKILL)."""
        self._cluster.remove_node(self._nodes[at], allow_graceful=False)

    def replace(self, at: int) -> None:
        """Add a node in the place of one that was lost."""
        self._nodes[at] = self._add()

    def close(self) -> None:
        """Stop everything."""
        self._cluster.shutdown()
        self._folder.remove()


def started(start: Callable[[], Any]) -> Any:
    """Ray gives a node's processes 30 seconds, which a busy machine may miss: then again."""
    for _ in range(STARTS - 1):
        with contextlib.suppress(Exception):  # Ray's is a bare one
            return start()
    return start()


def processes() -> Iterator[tuple[int, int, str]]:
    """(process, parent, command line or title) of all that live."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if fields[0] not in "ZX":
                yield int(folder.name), int(fields[1]), name


def engine_cores(pid: int) -> list[int]:
    """Engine cores that a worker started."""
    return [child for child, parent, name in processes() if parent == pid and "EngineCore" in name]


def containers(owners: list[int]) -> list[int]:
    """First processes of the containers that belong to these executors."""
    try:
        return asyncio.run(_containers(owners))
    except SandboxUnavailable:
        return []


async def _containers(owners: list[int]) -> list[int]:
    engine = await find_engine(state_dir(""))
    pids = []
    for entry in await engine.ask(lambda docker: docker.containers(filters={"label": LABEL})):
        if any(f"sandbox-{owner}-" in entry["Labels"][LABEL] for owner in owners):
            with contextlib.suppress(SandboxUnavailable):
                told = await engine.ask(partial(APIClient.inspect_container, container=entry["Id"]))
                if told["State"]["Pid"]:
                    pids.append(told["State"]["Pid"])
    return sorted(pids)


def kill(pid: int) -> bool:
    """SIGKILL; False where it was gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
