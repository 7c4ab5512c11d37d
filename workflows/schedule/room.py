"""Who goes so that one node gets room for a worker.

Workers go that may: those of roles that give way. Where slots are free, but not enough of one node,
smaller workers go that have room on others.

Invariant: all who go stand on one node, on which there is room once they are gone; nobody goes
where that can't be.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from workflows.schedule.crews import Crew, Worker
from workflows.schedule.nodes import Node, Pool, RolePlan

LOOKED_AT = 64
"""Most workers of a role on a node, and most nodes at every decision, that are looked at."""


class MayGo(NamedTuple):
    """Who of a role may go for a worker of another one."""

    most: int
    busy: bool
    """Whether also those that have something to do."""


class Room:
    """Knows who stands where, of those that are up."""

    def __init__(self, crews: Mapping[str, Crew], pools: Mapping[str, Pool]) -> None:
        self._crews = crews
        self._pools = pools
        self._there: dict[tuple[str, str], OrderedDict[int, Worker]] = {}
        """Role and node -> its workers there."""

    def enter(self, worker: Worker) -> None:
        """It is up."""
        here = self._there.setdefault((worker.role, worker.node), OrderedDict())
        here[worker.number] = worker

    def leave(self, worker: Worker) -> None:
        """It is gone, or about to go."""
        here = self._there.get((worker.role, worker.node), OrderedDict())
        if here.pop(worker.number, None) is not None and not here:
            del self._there[worker.role, worker.node]

    def make(
        self, role: str, may_go: Mapping[str, MayGo], looked_at: int | None
    ) -> Sequence[Worker]:
        """Who has to go for a worker of a role: the fewest, and who is idle before who is busy.

        Their node is kept for the role. `looked_at`: most nodes to look at; None: all.
        """
        plan = self._crews[role].plan
        pool = self._pools[plan.pool]
        name = pool.kept.pop(role, None)  # ANYWHERE is the name of a node too
        kept = None if name is None else pool.nodes.get(name)
        if kept is not None and kept.fits(plan):
            pool.kept[role] = kept.name
            return ()  # it is being made
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
        """Workers without which `plan` fits on a node; None: not even without them."""
        giving_way: list[Worker] = []
        for other, (most, busy) in may_go.items():
            theirs = self._crews[other].plan
            if other != role and theirs.pool == plan.pool and theirs.slots:
                here = self._idle_first(other, node)
                giving_way += [one for one in here if busy or not one.load][: max(0, most)]
        return self._fewest(plan, node, giving_way)

    def _moving(self, plan: RolePlan, node: Node, pool: Pool) -> list[Worker] | None:
        """The same of workers that take less than `plan` does and have room elsewhere."""
        elsewhere = pool.total - pool.used - max(0, node.room)
        smaller: list[Worker] = []
        for role, crew in self._crews.items():
            if crew.plan.pool == plan.pool and 0 < crew.plan.size < plan.size:
                smaller += self._idle_first(role, node)
        going = self._fewest(plan, node, smaller)
        if going is None or elsewhere < sum(self._crews[one.role].plan.slots for one in going):
            return None
        return going

    def _fewest(self, plan: RolePlan, node: Node, of: Sequence[Worker]) -> list[Worker] | None:
        """Those of some workers, idle ones first, without which `plan` fits on their node."""

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
        for worker in list(going):  # a share of a slot that stays with others helps nobody
            fewer = [one for one in going if one is not worker]
            going = fewer if enough(fewer) else going
        return going

    def _idle_first(self, role: str, node: Node) -> list[Worker]:
        """Some workers of a role on a node."""
        here = list(islice(self._there.get((role, node.name), {}).values(), LOOKED_AT))
        idle = self._crews[role].idle()
        if idle is not None and idle.node == node.name and idle not in here:
            here.append(idle)
        return sorted(here, key=lambda worker: worker.load)


def _trouble(going: Sequence[Worker]) -> tuple[int, int]:
    """What it costs that workers go: those that are busy count most."""
    return sum(bool(worker.load) for worker in going), len(going)
