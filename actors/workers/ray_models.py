"""Fetches a run's models onto the nodes of a cluster, before an engine there holds a GPU.

All nodes download at once, each for itself, also those that join later. A node's failure is
reported. If an engine is opened there, it raises the failure again.

Invariant: a node fetches each model once, for all its engines.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.engines.contract import EngineSettings
from actors.models.cache import GB, LOOK_S
from actors.models.fetching import at_hand
from actors.models.source import ModelSource
from actors.ray_errors import classified
from actors.workers.ray_nodes import nodes_now
from storage.errors import StepmillError

SAY_EVERY = 0.1
"""Share of a model between two reports of progress."""


class Moved(NamedTuple):
    """How far a download is, in bytes; (0, 0): another process of the node downloads."""

    done: int
    total: int


class NodeModels:
    """Fetches the models of roles onto nodes, each model once per node."""

    def __init__(self, engines: Mapping[str, EngineSettings], say: Callable[[str], None]) -> None:
        """`engines`: role -> engine. `say` gets one-line reports of progress and failures."""
        self._engines = {r: engine for r, engine in engines.items() if _is_elsewhere(engine)}
        self._say = say
        self._under_way: dict[tuple[str, str], asyncio.Task[StepmillError | None]] = {}

    async def ready(self, role: str, resource: str) -> None:
        """Wait until every node that offers `resource` has the role's model or failed to get it.

        Raises the StepmillError of one node if all failed.
        """
        if role not in self._engines:
            return
        there = await asyncio.to_thread(nodes_with, resource)
        for node, host in there.items():
            if (role, node) not in self._under_way:
                self._under_way[role, node] = asyncio.create_task(
                    self._fetch(self._engines[role], node, host)
                )
        fetching = [self._under_way[role, node] for node in there]
        if not fetching:
            return
        await asyncio.wait(fetching)  # a cancelled waiter leaves the downloads running
        troubles = [task.result() for task in fetching]
        for node, trouble in zip(there, troubles, strict=True):
            if trouble is not None:  # the next call tries again
                self._under_way.pop((role, node), None)
        if (first := troubles[0]) and all(troubles):
            raise first

    async def _fetch(self, engine: EngineSettings, node: str, host: str) -> StepmillError | None:
        place = NodeAffinitySchedulingStrategy(node, soft=False)
        task = ray.remote(fetch).options(
            num_cpus=0, num_returns="streaming", max_retries=0, scheduling_strategy=place
        )
        model, told = ModelSource(engine.model, engine.revision).short_name, -1.0
        try:
            with classified(f"node {host}"):
                async for reference in task.remote(engine):
                    moved = Moved(*await reference)
                    share = moved.done / moved.total if moved.total else 0.0
                    if share >= told + SAY_EVERY or (share == 1 and told < 1):
                        told = share
                        self._say(f"{model} on {host}: {_words(moved)}")
        except StepmillError as error:
            self._say(f"{model} on {host}: {error}")
            return error
        return None


def nodes_with(resource: str) -> dict[str, str]:
    """Identity -> address of the nodes that offer some of a resource.

    Raises InfrastructureError.
    """
    return {node.node: node.address for node in nodes_now() if node.offers.get(resource)}


def fetch(engine: EngineSettings) -> Iterator[tuple[int, int]]:
    """On a node: fetch a model; yield (bytes done, in all) every second. Raises as `at_hand`."""
    ended, at = threading.Event(), Moved(0, 0)
    trouble: list[Exception] = []

    def tell(done: int, total: int) -> None:
        nonlocal at
        at = Moved(done, total)

    def work() -> None:
        try:
            at_hand(engine, tell)
        except Exception as error:  # noqa: BLE001 - raised again where the task is
            trouble.append(error)
        finally:
            ended.set()

    threading.Thread(target=work, name="fetch", daemon=True).start()
    seen: Moved | None = None
    while not ended.wait(LOOK_S):
        if at != seen:
            seen = at
            yield at
    if trouble:
        raise trouble[0]
    if at.total:
        yield at


def _is_elsewhere(engine: EngineSettings) -> bool:
    if engine.kind != "vllm":
        return False
    names = (engine.model, engine.tokenizer or engine.model)
    return any(source.stored or source.on_hub for source in map(ModelSource, names))


def _words(moved: Moved) -> str:
    if not moved.total:
        return "waiting for its download"
    return f"{moved.done / GB:.2f} of {moved.total / GB:.2f} GB"
