"""A worker's place on a cluster: the resources of one node, taken as one placement group.

Invariant: a place is held from `take` until `give_back` or the end of the driver. Giving a place
back while `take` still waits for it ends the wait.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping

from ray.exceptions import RayError, TaskPlacementGroupRemoved
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.ray_errors import classified
from storage.errors import WorkerLost


class RayPlaces:
    """The places of a driver's workers."""

    def __init__(self) -> None:
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
                try:
                    await group.ready()
                except TaskPlacementGroupRemoved:
                    raise closed from None
                table = await asyncio.to_thread(placement_group_table, group)
            if worker not in self._groups:
                raise closed
        except BaseException:
            self.give_back(worker)
            raise
        taken = str(table["bundles_to_node_id"][0])
        self._held[worker] = (taken, dict(bundle))
        return taken, PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)

    def give_back(self, worker: int) -> None:
        """Free a worker's place, or end its wait for one. Idempotent; never raises."""
        self._held.pop(worker, None)
        if (group := self._groups.pop(worker, None)) is not None:
            with contextlib.suppress(RayError):  # a head that is gone holds no places
                remove_placement_group(group)
