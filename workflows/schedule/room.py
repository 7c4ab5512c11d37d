"""Chooses the workers to close so that a node gets room for another worker.

First choice are workers of roles that give way. If slots are free, but too few on any single node,
smaller workers are closed that have room on other nodes.

Invariant: all chosen workers are on the same node, which has room once they are gone. If no node
can get room, none is chosen.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from workflows.schedule.crews import Crew, Worker
from workflows.schedule.nodes import Node, Pool, RolePlan

LOOKED_AT = 64
"""Most workers of a role on a node, and most nodes, that a decision considers."""


class MayGo(NamedTuple):
    """How many workers of a role may be closed for another role."""

    most: int
    busy: bool
    """Whether busy workers may be closed too."""


class Room:
    """The workers that are up, by role and node."""

    def __init__(self, crews: Mapping[str, Crew], pools: Mapping[str, Pool]) -> None:
        self._crews = crews
        self._pools = pools
        self._there: dict[tuple[str, str], OrderedDict[int, Worker]] = {}
        """Role and node -> its workers there."""

    def enter(self, worker: Worker) -> None:
        """The worker is up."""
        here = self._there.setdefault((worker.role, worker.node), OrderedDict())
        here[worker.number] = worker

    def leave(self, worker: Worker) -> None:
        """The worker is gone, or about to go."""
        here = self._there.get((worker.role, worker.node), OrderedDict())
        if here.pop(worker.number, None) is not None and not here:
            del self._there[worker.role, worker.node]

    def make(
        self, role: str, may_go: Mapping[str, MayGo], looked_at: int | None
    ) -> Sequence[Worker]:
        """The workers to close for a worker of a role: fewest busy ones, then fewest in total.

        Their node is kept for the role. `looked_at`: most nodes to consider; None: all.
        """
        plan = self._crews[role].plan
        pool = self._pools[plan.pool]
        name = pool.kept.pop(role, None)  # ANYWHERE is the name of a node too
        kept = None if name is None else pool.nodes.get(name)
        if kept is not None and kept.fits(plan):
            pool.kept[role] = kept.name
            return ()  # its workers are being closed already
        others = set(pool.kept.values())
        best: Sequence[Worker] | None = None
        for node in islice(pool.nodes.values(), looked_at):
            if node.total < plan.slots or node.name in others:
                continue
            going = self._giving_way(role, plan, node, may_go)
            if going is None:
                going = self._moving(plan, node, pool)
            if going is not None and (best is None or _trouble(going) < _trouble(best)):
                best, pool.kept[role] = going, node.name
        return best or ()

    def _giving_way(
        self, role: str, plan: RolePlan, node: Node, may_go: Mapping[str, MayGo]
    ) -> list[Worker] | None:
        """Workers that give way, without which `plan` fits on a node; None: it does not fit."""
        giving_way: list[Worker] = []
        for other, (most, busy) in may_go.items():
            theirs = self._crews[other].plan
            if other != role and theirs.pool == plan.pool and theirs.slots:
                here = self._idle_first(other, node)
                giving_way += [worker for worker in here if busy or not worker.load][: max(0, most)]
        return self._fewest(plan, node, giving_way)

    def _moving(self, plan: RolePlan, node: Node, pool: Pool) -> list[Worker] | None:
        """Like `_giving_way`, of workers smaller than `plan` that have room on other nodes."""
        elsewhere = pool.total - pool.used - max(0, node.room)
        smaller: list[Worker] = []
        for role, crew in self._crews.items():
            if crew.plan.pool == plan.pool and 0 < crew.plan.size < plan.size:
                smaller += self._idle_first(role, node)
        going = self._fewest(plan, node, smaller)
        if going is None or elsewhere < sum(self._crews[each.role].plan.slots for each in going):
            return None
        return going

    def _fewest(self, plan: RolePlan, node: Node, of: Sequence[Worker]) -> list[Worker] | None:
        """The fewest of some workers, idle ones first, without which `plan` fits on a node."""

        def enough(without: Sequence[Worker]) -> bool:
            gone = [(worker.number, self._crews[worker.role].plan) for worker in without]
            return node.fits(plan, gone)

        going: list[Worker] = []
        for worker in sorted(of, key=lambda worker: worker.load):
            if enough(going):
                break
            going.append(worker)
        if not enough(going):
            return None
        for worker in list(going):  # a share frees nothing if the slot's other shares stay
            fewer = [other for other in going if other is not worker]
            going = fewer if enough(fewer) else going
        return going

    def _idle_first(self, role: str, node: Node) -> list[Worker]:
        """Up to `LOOKED_AT` workers of a role on a node, by load."""
        here = list(islice(self._there.get((role, node.name), {}).values(), LOOKED_AT))
        idle = self._crews[role].idle()
        if idle is not None and idle.node == node.name and idle not in here:
            here.append(idle)
        return sorted(here, key=lambda worker: worker.load)


def _trouble(going: Sequence[Worker]) -> tuple[int, int]:
    """Sort key of the cost of closing workers: busy ones count first, then the number."""
    return sum(bool(worker.load) for worker in going), len(going)
