"""A worker's place on a cluster: the resources of one node, taken as one placement group.

Invariant: a place is held from `take` until `give_back` or the end of the driver. Giving a place
back while `take` still waits for it ends the wait.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping

from ray.exceptions import RayError, TaskPlacementGroupRemoved
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.ray_errors import classified
from actors.workers.ray_nodes import amounts, nodes_now, nodes_said
from storage.errors import InfrastructureError, WorkerLost

TELL_AFTER_S = 10.0
"""Seconds that a worker waits for a node before it is said."""


class RayPlaces:
    """The places of a driver's workers."""

    def __init__(self, say: Callable[[str], None] = lambda line: None) -> None:
        """`say`: told of a worker that waits for a node with room."""
        self._say = say
        self._addresses: dict[int, str] = {}
        self._groups: dict[int, PlacementGroup] = {}
        self._held: dict[int, tuple[str, dict[str, float]]] = {}
        """Worker -> (its node, the resources it takes there)."""

    def waiting(self) -> Collection[int]:
        """Numbers of the workers that wait for a node with room."""
        return self._groups.keys() - self._held.keys()

    def held(self) -> dict[str, dict[str, float]]:
        """Node -> the resources that workers here take of it. Safe in any thread."""
        nodes: dict[str, dict[str, float]] = {}
        for node, bundle in list(self._held.values()):
            taken = nodes.setdefault(node, {})
            for kind, amount in bundle.items():
                taken[kind] = taken.get(kind, 0.0) + amount
        return nodes

    async def take(
        self, worker: int, name: str, bundle: Mapping[str, float], node: str = ""
    ) -> tuple[str, PlacementGroupSchedulingStrategy]:
        """Wait for room on a node, `node` if it has some; return (node, strategy that puts an actor
        there).

        Raises WorkerLost if the place is given back meanwhile, and InfrastructureError.
        """
        closed = WorkerLost(f"worker {name} was closed before it had a place")
        try:
            with classified(f"the place of {name}"):
                group = self._groups[worker] = placement_group(
                    [dict(bundle)],
                    strategy="STRICT_PACK",
                    name=name,
                    _soft_target_node_id=node or None,
                )
                late = asyncio.create_task(self._tell(name, bundle))
                try:
                    await group.ready()
                except TaskPlacementGroupRemoved:
                    raise closed from None
                finally:
                    late.cancel()
                table = await asyncio.to_thread(placement_group_table, group)
                nodes = await asyncio.to_thread(nodes_now)
            if worker not in self._groups:
                raise closed
        except BaseException:
            self.give_back(worker)
            raise
        taken = str(table["bundles_to_node_id"][0])
        self._held[worker] = (taken, dict(bundle))
        self._addresses[worker] = next((n.address for n in nodes if n.node == taken), "")
        return taken, PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)

    def where(self, worker: int) -> str:
        """` on 10.0.0.7`: the node that a worker was put on, or nothing."""
        address = self._addresses.get(worker)
        return f" on {address}" if address else ""

    async def _tell(self, name: str, bundle: Mapping[str, float]) -> None:
        await asyncio.sleep(TELL_AFTER_S)
        kinds = bundle.keys() - {"CPU"}
        with contextlib.suppress(InfrastructureError):
            free = nodes_said(await asyncio.to_thread(nodes_now), kinds)
            who = name.removeprefix("stepmill-")
            self._say(f"{who} waits for a node: it takes {amounts(bundle)}; {free}")

    def give_back(self, worker: int) -> None:
        """Free a worker's place, or end its wait for one. Idempotent; never raises."""
        self._held.pop(worker, None)
        self._addresses.pop(worker, None)
        if (group := self._groups.pop(worker, None)) is not None:
            with contextlib.suppress(RayError):  # a head that is gone holds no places
                remove_placement_group(group)
