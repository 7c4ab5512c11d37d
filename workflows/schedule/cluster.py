"""What the driver's loop asks of a cluster; Ray's and the tests' are of this form.

Invariant: what a cluster can do beside opening, working and closing is a protocol of its own, and a
cluster without it is driven all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol, runtime_checkable

from storage.errors import WorkerLost
from storage.runs.commits import Receipt
from workflows.schedule.nodes import Slots

SlotsNow = Callable[[], Slots]
"""Slots, as the cluster has them at this moment."""


class Cluster(Protocol):
    """Where workers run."""

    async def open(self, worker: int, role: str) -> None:
        """Start a worker; raises WorkerLost or a UserError."""
        ...

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        """Make and commit one shard."""
        ...

    async def isolate(self, worker: int, stage: str, shard: int) -> Receipt:
        """The same, item by item, so that an item that kills is found and dropped."""
        ...

    async def close(self, worker: int) -> None:
        """Stop a worker; never raises."""
        ...


@runtime_checkable
class FindsDead(Protocol):
    """A cluster that looks after its workers, also those on which nothing runs."""

    def found_dead(self) -> Mapping[int, WorkerLost]:
        """Workers found dead since this was asked last, and how."""


@runtime_checkable
class HasNodes(Protocol):
    """A cluster whose workers take their slots of one node, and may have to wait for them."""

    async def open_on(
        self, worker: int, role: str, node: str, placed: Callable[[str], None]
    ) -> None:
        """`open`, on a node where there is room for it; `placed` is told where it came to stand."""
        ...

    def waiting(self) -> Collection[int]:
        """Workers that wait for room just now."""
        ...

    def shortage(self, roles: Collection[str]) -> str:
        """In one line: what workers of some roles need, what nodes have, and who holds it."""
        ...


@runtime_checkable
class TellsHunger(Protocol):
    """A cluster whose workers say when their engines run out of work."""

    async def hungry(self, worker: int) -> None:
        """Return once nothing waits for the worker's engine."""
        ...
