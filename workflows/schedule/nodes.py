"""A pool's slots, node by node: where a worker fits now, and where it fits once others are gone.

A slot is a GPU or another countable resource. A worker takes whole slots of a node, or a share of
a slot, which then holds only shares.

Invariant: a worker is counted on one node from the decision to open it until it is gone. The cost
of a call is independent of the number of nodes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

ENGINES = "engines"
"""The pool of the engines' slots."""
WHOLE = 100
"""Parts of a whole slot: shares are hundredths."""
ANYWHERE = ""
"""The name of a pool's only node if its slots are not known by node."""

Slots = int | Mapping[str, int] | Mapping[str, Mapping[str, int]]
"""Slots of the only pool, pool -> slots, or pool -> node -> slots."""


@dataclass(frozen=True, slots=True)
class RolePlan:
    """How the workers of one role may be placed."""

    slots: int
    """Slots that one worker takes; 0: needs none."""
    parallel: int
    """Shards in flight on one worker, so that its engine never drains between shards."""
    most: int
    """Most workers of this role."""
    pool: str = ENGINES
    """The pool that its slots are in."""
    share: int = WHOLE
    """Hundredths of a slot that a worker takes if it shares the slot with others."""
    most_parallel: int = 0
    """Most shards in flight on a worker whose engine's queue is empty; 0: `parallel`."""

    @property
    def size(self) -> int:
        """Hundredths of slots that a worker takes."""
        return self.slots * self.share

    @property
    def limit(self) -> int:
        """Most shards in flight on a worker, at any time."""
        return max(self.parallel, self.most_parallel)


@dataclass(slots=True)
class Shared:
    """A slot that several workers share; in hundredths."""

    free: int = WHOLE
    freeing: int = 0
    """Held by workers that are closing or leaving."""


@dataclass(slots=True)
class Node:
    """One node's slots."""

    name: str
    total: int = 0
    used: int = 0
    """Whole slots in use, shared ones included."""
    freeing: int = 0
    """Whole slots of workers that are closing or leaving."""
    shared: list[Shared] = field(default_factory=list)
    at: dict[int, Shared] = field(default_factory=dict)
    """Worker -> the slot that it shares."""

    @property
    def room(self) -> int:
        """Whole slots that are free."""
        return self.total - self.used

    @property
    def part(self) -> int:
        """The largest free share of a slot that is shared."""
        return max((slot.free for slot in self.shared), default=0)

    def fits(self, plan: RolePlan, without: Iterable[tuple[int, RolePlan]] = ()) -> bool:
        """Whether a worker fits once all that are leaving, and all of `without`, are gone."""
        room = self.room + self.freeing
        gone: dict[int, int] = {}
        for worker, other in without:
            if other.share == WHOLE:
                room += other.slots
            else:
                slot = id(self.at[worker])
                gone[slot] = gone.get(slot, 0) + other.share
        free = [slot.free + slot.freeing + gone.get(id(slot), 0) for slot in self.shared]
        room += sum(part == WHOLE for part in free)
        if plan.share == WHOLE:
            return room >= plan.slots
        return room > 0 or any(part >= plan.share for part in free)

    def take(self, worker: int, plan: RolePlan) -> None:
        """Count a worker. A share goes to the shared slot with the smallest free part that fits."""
        if plan.share == WHOLE:
            self.used += plan.slots
            return
        fitting = [slot for slot in self.shared if slot.free >= plan.share]
        if not fitting:
            fitting = [Shared()]
            self.shared += fitting
            self.used += 1
        slot = self.at[worker] = min(fitting, key=lambda slot: slot.free)
        slot.free -= plan.share

    def leave(self, worker: int, plan: RolePlan, sign: int = 1) -> None:
        """Count a worker's slots as about to be free; `sign` -1: count them so no more."""
        if plan.share == WHOLE:
            self.freeing += sign * plan.slots
        else:
            self.at[worker].freeing += sign * plan.share

    def give_back(self, worker: int, plan: RolePlan) -> None:
        """Free the slots of a worker that is gone."""
        if plan.share == WHOLE:
            self.used -= plan.slots
            return
        slot = self.at.pop(worker)
        slot.free += plan.share
        if slot.free == WHOLE:
            self.shared = [other for other in self.shared if other is not slot]
            self.used -= 1


class Pool:
    """The nodes of one pool, sorted by what is free on them."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.total = 0
        self.used = 0
        self.kept: dict[str, str] = {}
        """Role -> the node that is kept free for it."""
        self._by_room: dict[int, OrderedDict[str, Node]] = {}
        self._by_part: dict[int, OrderedDict[str, Node]] = {}

    def resize(self, slots: Mapping[str, int]) -> None:
        """Set each node's slots. A node without slots stays while workers are counted on it."""
        for name in self.nodes.keys() | slots.keys():
            with_room = self._out(name)
            with_room.total = slots.get(name, 0)
            if with_room.total or with_room.used:
                self._in(with_room)
            else:
                del self.nodes[name]
        self.total = sum(slots.values())

    def fit(self, plan: RolePlan, role: str) -> str | None:
        """The fullest node with room for a worker of a role, without those kept for others."""
        kept = {name for other, name in self.kept.items() if other != role}
        if (own := self.kept.get(role)) is not None:
            node = self.nodes.get(own)
            if node is not None and self._has_room(node, plan):
                return own
        if plan.share < WHOLE:
            for name in _fullest(self._by_part, plan.share):
                if name not in kept:
                    return name
        for name in _fullest(self._by_room, plan.slots):
            if name not in kept:
                return name
        return None

    def most(self, plan: RolePlan) -> int:
        """Number of such workers that all nodes together hold when empty. Loops over all nodes."""
        each = WHOLE // plan.share
        return sum(each * (node.total // plan.slots) for node in self.nodes.values())

    def take(self, name: str, worker: int, plan: RolePlan) -> None:
        """Count a worker on a node."""
        node = self._out(name)
        node.take(worker, plan)
        self._in(node)

    def leave(self, name: str, worker: int, plan: RolePlan) -> None:
        """Count the slots of a worker on a node as about to be free."""
        self.nodes[name].leave(worker, plan)

    def give_back(self, name: str, worker: int, plan: RolePlan, leaving: bool) -> None:
        """Free the slots of a worker that is gone; `leaving`: whether `leave` was called."""
        node = self._out(name)
        if leaving:
            node.leave(worker, plan, -1)
        node.give_back(worker, plan)
        self._in(node)

    def _has_room(self, node: Node, plan: RolePlan) -> bool:
        return node.room >= plan.slots or (plan.share < WHOLE and node.part >= plan.share)

    def _out(self, name: str) -> Node:
        node = self.nodes.get(name)
        if node is None:
            node = self.nodes[name] = Node(name)
        else:
            self.used -= node.used
            _drop(self._by_room, node.room, name)
            _drop(self._by_part, node.part, name)
        return node

    def _in(self, node: Node) -> None:
        self.used += node.used
        self._by_room.setdefault(node.room, OrderedDict())[node.name] = node
        if node.part:
            self._by_part.setdefault(node.part, OrderedDict())[node.name] = node


def _drop(buckets: dict[int, OrderedDict[str, Node]], key: int, name: str) -> None:
    bucket = buckets.get(key)
    if bucket is not None and bucket.pop(name, None) is not None and not bucket:
        del buckets[key]


def _fullest(buckets: Mapping[int, Mapping[str, Node]], least: int) -> Iterator[str]:
    for room in sorted(room for room in buckets if room >= least):
        yield from buckets[room]


def by_node(slots: Slots, pool: str) -> dict[str, dict[str, int]]:
    """Pool -> node -> slots, from any form of `Slots`; `pool` names the only one."""
    pools = {pool: slots} if isinstance(slots, int) else slots
    return {
        name: {ANYWHERE: there} if isinstance(there, int) else dict(there)
        for name, there in pools.items()
    }
