"""The protocol between the driver's loop and a cluster: Ray's, or a test's.

Invariant: everything beside opening, working and closing is an optional protocol of its own. The
driver also runs a cluster without it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol, runtime_checkable

from storage.errors import WorkerLost
from storage.runs.commits import Receipt
from workflows.schedule.nodes import Slots

SlotsNow = Callable[[], Slots]
"""Returns the slots that the cluster has now."""


class Cluster(Protocol):
    """Opens workers, gives them shards and closes them."""

    async def open(self, worker: int, role: str) -> None:
        """Start a worker. Raises WorkerLost or a UserError."""
        ...

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        """Make and commit one shard."""
        ...

    async def isolate(self, worker: int, stage: str, shard: int) -> Receipt:
        """Make a shard item by item, so that an item that kills workers is found and dropped."""
        ...

    async def close(self, worker: int) -> None:
        """Stop a worker; never raises."""
        ...


@runtime_checkable
class FindsDead(Protocol):
    """A cluster that notices dead workers, idle ones included."""

    def found_dead(self) -> Mapping[int, WorkerLost]:
        """Worker -> its loss, for workers found dead since the last call."""


@runtime_checkable
class HasNodes(Protocol):
    """A cluster whose workers take slots of a node, and may wait for them."""

    async def open_on(
        self, worker: int, role: str, node: str, placed: Callable[[str], None]
    ) -> None:
        """`open` on a node with room. `placed` is called with the node that the worker got."""
        ...

    def waiting(self) -> Collection[int]:
        """Workers that wait for slots now."""
        ...

    def shortage(self, roles: Collection[str]) -> str:
        """One line: which slots the roles' workers need, which ones nodes have, who holds them."""
        ...


@runtime_checkable
class TellsHunger(Protocol):
    """A cluster whose workers report that their engine's queue is empty."""

    async def hungry(self, worker: int) -> None:
        """Return once the queue of the worker's engine is empty."""
        ...
