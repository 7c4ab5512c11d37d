"""All workers and their slots: which role gets the next slot, and which worker is closed for it.

Slots (GPUs or another countable resource) lie in pools, node by node (`workflows.schedule.nodes`).
Each role has a pool. A worker goes to the fullest node that has room for it.

  - Turns: if a pool has fewer slots than its roles need, roles take turns, also if a role's fair
    share is below half a worker. An idle worker without a backlog is closed for a waiting role.
    The window between stages makes turns long and switches few. If slots suffice for a worker
    of each role, the first worker of each is opened before its work arrives.
  - Shares: if slots are many, each role with work left gets a share of them. Shares are in
    proportion to the seconds of work left, and hold at least one worker. A role above its share
    gives way to a waiting role below its own.
  - If slots are free, but too few on any single node, smaller workers move to other nodes. The
    choice always frees enough of a single node.

Invariant: slots in use never exceed those that a node had when the worker was opened. A worker
counts until it is closed or lost. The cost of a call is independent of the number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from workflows.schedule.crews import Close, Crew, Open, Worker
from workflows.schedule.nodes import ANYWHERE, ENGINES, WHOLE, Pool, RolePlan, Slots, by_node
from workflows.schedule.room import LOOKED_AT, MayGo, Room

FEW = 4
"""Roles may take turns in a pool that holds fewer than so many workers of each."""
SLACK = 0.1
"""Fraction by which a role can exceed its share of workers before it gives way."""


class Need(NamedTuple):
    """The work that a role has."""

    backlog: int
    """Shards that a new worker could start now."""
    left: float
    """Seconds of work left in the shards of its stages, for a single worker."""
    furthest: int
    """Position of the last stage with a backlog: of equal queues, the later stage goes first."""


class Workforce:
    """All workers and the slots they take."""

    def __init__(self, roles: Mapping[str, RolePlan], slots: Slots) -> None:
        self.crews = {role: Crew(plan) for role, plan in roles.items()}
        self.workers: dict[int, Worker] = {}
        self._next = 0
        self._changed = True
        """Workers came or went since the last placing."""
        self._anew = True
        """Whether the current placing is the first one after a change."""
        self._asked = 0
        self.switches = 0
        """Workers closed to make room for another role."""
        self._pools = {plan.pool: Pool() for plan in roles.values()}
        self._room = Room(self.crews, self._pools)
        self._most: dict[str, int] = {}
        """Role -> most workers that its pool can hold."""
        self.slots: Mapping[str, int] = {}
        """Slots of each pool."""
        self.resize(slots)

    # ---------------------------------------------------------------- what happened

    def resize(self, slots: Slots) -> None:
        """Set the cluster's slots. Workers that are up stay."""
        self._changed = True
        known = by_node(slots, ENGINES)
        self.slots = {pool: sum(nodes.values()) for pool, nodes in known.items()}
        for name, pool in self._pools.items():
            pool.resize(known.get(name, {}))
        for role, crew in self.crews.items():
            if crew.plan.slots:
                self._most[role] = self._pools[crew.plan.pool].most(crew.plan)

    def add(self, role: str, node: str) -> Worker:
        """Add a worker that is being opened, and count its slots."""
        worker = Worker(self._next, role, node)
        self._next += 1
        crew = self.crews[role]
        crew.size += 1
        crew.opening += 1
        crew.begun = True
        if crew.plan.slots:
            self._pools[crew.plan.pool].take(node, worker.number, crew.plan)
        self.workers[worker.number] = worker
        return worker

    def place_on(self, number: int, node: str) -> None:
        """Record the node that the worker got, which may be another than planned."""
        worker = self.workers.get(number)
        if worker is None:
            return
        crew = self.crews[worker.role]
        if crew.plan.slots and node != worker.node != ANYWHERE:
            pool = self._pools[crew.plan.pool]
            pool.give_back(worker.node, number, crew.plan, worker.leaving)
            pool.take(node, number, crew.plan)
            if worker.leaving:
                pool.leave(node, number, crew.plan)
            worker.node = node
        worker.placed = True

    def up(self, worker: Worker, now: float) -> None:
        """The worker is up and can take shards."""
        crew = self.crews[worker.role]
        crew.opening -= not worker.ready
        worker.ready, worker.heard, worker.placed = True, now, True
        self._changed = True
        if crew.plan.slots and not worker.leaving:
            self._room.enter(worker)
        crew.enter(worker)

    def remove(self, number: int) -> Worker | None:
        """The worker is gone: free its slots. Returns None if it is unknown."""
        self._changed = True
        worker = self.workers.pop(number, None)
        if worker is None:
            return None
        crew = self.crews[worker.role]
        if crew.plan.slots:
            pool = self._pools[crew.plan.pool]
            pool.give_back(worker.node, number, crew.plan, worker.leaving)
        if not worker.leaving:
            self._uncount(worker, crew)
        return worker

    def _uncount(self, worker: Worker, crew: Crew) -> None:
        crew.leave(worker)
        crew.size -= 1
        crew.opening -= not worker.ready
        if crew.clearing is worker:
            crew.clearing = None
        self._room.leave(worker)

    def retire(self, worker: Worker) -> None:
        """Give the worker no new shards."""
        if not worker.leaving:
            crew = self.crews[worker.role]
            self._uncount(worker, crew)
            worker.leaving = True
            if crew.plan.slots:
                self._pools[crew.plan.pool].leave(worker.node, worker.number, crew.plan)

    def close(self, worker: Worker) -> Close:
        """The action that stops the worker now. Its slots count until `remove`."""
        self.retire(worker)
        worker.closing = True
        return Close(worker.number)

    def never_coming(self) -> list[Worker]:
        """Workers that wait for slots which are gone; the last ones first."""
        waiting: list[Worker] = []
        over = {
            (name, node.name): -node.room - node.freeing
            for name, pool in self._pools.items()
            for node in pool.nodes.values()
            if node.room + node.freeing < 0
        }
        for worker in reversed(self.workers.values()) if over else ():
            plan = self.crews[worker.role].plan
            where = (plan.pool, worker.node)
            if plan.slots and not worker.placed and not worker.closing and over.get(where, 0) > 0:
                over[where] -= plan.slots
                waiting.append(worker)
        return waiting

    def in_flight(self) -> int:
        """Shards to allow between two stages, so that no slot of a large pool is idle."""
        most = 0
        for pool, total in self.slots.items():
            plans = [c.plan for c in self.crews.values() if c.plan.pool == pool and c.plan.slots]
            if plans and total * WHOLE >= FEW * sum(plan.size for plan in plans):
                workers = total * WHOLE // min(plan.size for plan in plans)
                most = max(most, 3 * workers * max(plan.parallel for plan in plans))
        return most

    # ---------------------------------------------------------------- what to do

    def wants_placing(self) -> bool:
        """Whether to call `place`: after a change, for idle workers or empty roles, else rarely."""
        self._asked -= 1
        return (
            self._changed
            or self._asked <= 0
            or any(not c.size or (c.plan.slots and c.idle()) for c in self.crews.values())
        )

    def place(self, needs: Mapping[str, Need], now: float) -> Iterator[Open | Close]:
        """Open workers for waiting shards, longest queue first; close others to free slots."""
        self._anew, self._changed = self._changed, False
        self._asked = sum(self.slots.values()) // 16
        waiting = [role for role in needs if self._is_short(role, needs[role], now)]
        waiting.sort(key=lambda role: (needs[role].backlog, needs[role].furthest), reverse=True)
        for pool in self._pools.values():
            pool.kept = {role: node for role, node in pool.kept.items() if role in waiting}
        for role in waiting:
            yield from self._staff(role, needs, now)
        for name in self._pools:
            yield from self._ahead(name, needs)

    def _ahead(self, pool: str, needs: Mapping[str, Need]) -> Iterator[Open]:
        """Open each role's first worker, one at a time, before its work arrives.

        Only in a pool that holds few workers of each role. In a large pool idle slots cost more
        than a model that is loaded late.
        """
        total = self.slots.get(pool, 0) * WHOLE
        active = {
            role: crew
            for role, crew in self.crews.items()
            if crew.plan.pool == pool and crew.plan.slots and needs[role].left
        }
        least = sum(crew.plan.size for crew in active.values())
        if not least <= total < FEW * least or any(crew.opening for crew in active.values()):
            return
        for role, crew in active.items():
            if not crew.begun:
                node = self._pools[pool].fit(crew.plan, role)
                if node is not None:
                    yield self._open(role, node)
                    return

    def _open(self, role: str, node: str) -> Open:
        return Open(role, self.add(role, node).number, node)

    def _is_short(self, role: str, need: Need, now: float) -> bool:
        crew = self.crews[role]
        coming = crew.opening * crew.plan.parallel
        return need.backlog > coming and crew.size < crew.plan.most and crew.not_before <= now

    def _staff(self, role: str, needs: Mapping[str, Need], now: float) -> Iterator[Open | Close]:
        crew = self.crews[role]
        if not crew.plan.slots:
            while self._is_short(role, needs[role], now):
                yield self._open(role, ANYWHERE)
            return
        pool = self._pools[crew.plan.pool]
        shares = self._shares(crew.plan.pool, needs)
        while self._is_short(role, needs[role], now):
            below = shares is None or crew.size < shares.get(role, 0)
            if not below:
                pool.kept.pop(role, None)
            if shares and not below and not self._may_borrow(shares):
                return
            node = pool.fit(crew.plan, role)
            if node is None:
                if below:
                    yield from self._make_room(role, needs, shares)
                return  # it opens once the closed workers are gone
            pool.kept.pop(role, None)
            yield self._open(role, node)

    def _may_borrow(self, shares: Mapping[str, int]) -> bool:
        """Whether a role can use free slots beyond its share: once every role has a worker."""
        return all(self.crews[role].size for role in shares)

    def _make_room(
        self, role: str, needs: Mapping[str, Need], shares: Mapping[str, int] | None
    ) -> Iterator[Close]:
        """Close or retire workers of other roles, all on the same node."""
        lacking = shares[role] - self.crews[role].size if shares else 0
        slack = SLACK if self.crews[role].size else 0.0
        may_go: dict[str, MayGo] = {}
        for other, crew in self.crews.items():
            if shares is None and not needs[other].backlog:
                may_go[other] = MayGo(crew.size, busy=False)
            elif shares and lacking >= slack * shares[role]:
                most = shares.get(other, 0) * (1 + slack)
                may_go[other] = MayGo(math.ceil(crew.size - most), busy=bool(needs[other].left))
        looked_at = None if self._anew else LOOKED_AT
        for worker in self._room.make(role, may_go, looked_at):
            self.switches += 1
            if worker.load:
                self.retire(worker)
            else:
                yield self.close(worker)

    def _shares(self, pool: str, needs: Mapping[str, Need]) -> dict[str, int] | None:
        """Role with work left -> most workers it may have; None: the roles take turns."""
        total = self.slots.get(pool, 0) * WHOLE
        active = {
            role: crew.plan
            for role, crew in self.crews.items()
            if crew.plan.pool == pool and self._most.get(role) and needs[role].left
        }
        least = sum(plan.size for plan in active.values())
        if least > total:
            return None
        whole = sum(needs[role].left * plan.size for role, plan in active.items())
        fair = {role: needs[role].left * total / whole for role in active}
        if len(active) > 1 and total < FEW * least and min(fair.values()) < 0.5:
            return None
        shares = {role: min(max(1, int(part)), self._most[role]) for role, part in fair.items()}
        while sum(shares[role] * plan.size for role, plan in active.items()) > total:
            largest = max(shares, key=lambda role: shares[role] * active[role].size)
            shares[largest] -= 1
        spare = total - sum(shares[role] * plan.size for role, plan in active.items())
        for role in sorted(active, key=lambda role: fair[role] - shares[role], reverse=True):
            most = min(fair[role], self._most[role])
            if most > shares[role] and active[role].size <= spare:
                shares[role] += 1
                spare -= active[role].size
        return shares
