"""A ceiling on what a run may cost: how many shards may still begin a stage.

What is nearer to the end of the road comes first. A shard begins a stage only if what is left pays
for the shards further on, for those at work, and for itself, each to the end of the road. Each
costs as much as the dearest shard of its stage so far. A stage of which no shard is known has one
shard at a time. Until the first shard has passed the whole road, the stages before may spend a
quarter of the limit: so something comes of a limit that is too low for the whole run.

Invariant: a run goes beyond its limit only by what shards at work cost more than the dearest one
before them. Stages without a model cost nothing and always go on.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from storage.runs.commits import Receipt
from workflows.road import StageSpec

UNPROVED = 0.25
"""Share of a limit that may be spent before a shard has passed every stage."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work cost."""

    tokens: float = 0.0
    """Generated tokens."""
    gpu_hours: float = 0.0
    money: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """The sum."""
        return Cost(
            self.tokens + other.tokens,
            self.gpu_hours + other.gpu_hours,
            self.money + other.money,
        )

    def of(self, name: str) -> float:
        """One of the three by its name."""
        value: float = getattr(self, name)
        return value


CostOf = Callable[[Receipt], Cost]


@dataclass(slots=True)
class Ceiling:
    """Counts what the shards of a run cost, against its limits."""

    limits: Mapping[str, float]
    """`tokens`, `gpu_hours` or `money` -> the most of it."""
    cost_of: CostOf
    road: Sequence[StageSpec]
    spent: Cost = field(default_factory=Cost)
    dearest: dict[str, Cost] = field(default_factory=dict)
    """Stage -> the most that a shard of it has cost, by each measure."""
    reason: str = ""
    """Which limit leaves no room for which stage; empty: none did so far."""

    def note(self, receipt: Receipt) -> None:
        """Count a commit; copied shards were paid for elsewhere."""
        if receipt.taken_over:
            return
        cost, before = self.cost_of(receipt), self.dearest.get(receipt.stage, Cost())
        self.spent += cost
        self.dearest[receipt.stage] = Cost(
            max(before.tokens, cost.tokens),
            max(before.gpu_hours, cost.gpu_hours),
            max(before.money, cost.money),
        )

    @property
    def said(self) -> str:
        """One line on what is spent so far, and by how much the run may go beyond its limits."""
        known = ", ".join(
            f"limits.{name}: {amount(self.spent.of(name))} of {amount(limit)} are spent"
            for name, limit in self.limits.items()
        )
        return (
            f"{known}; the run goes beyond that at most by what shards at work cost more than the "
            f"dearest one of their stage before them"
        )

    def room(self, position: int, waiting: Sequence[int], running: Sequence[int]) -> int:
        """How many shards may begin the stage at `position` now, beside those that are there.

        `waiting` and `running`: shards before and at each stage of the road.
        """
        if self.road[position].role == "cpu":
            return sys.maxsize
        return min(self._room(name, position, waiting, running) for name in self.limits)

    def _room(
        self, name: str, position: int, waiting: Sequence[int], running: Sequence[int]
    ) -> int:
        stage, limit = self.road[position].name, self.limits[name]
        to_end = [0.0] * (len(self.road) + 1)
        for at in range(len(self.road) - 1, -1, -1):
            dearest = self.dearest.get(self.road[at].name, Cost())
            to_end[at] = to_end[at + 1] + dearest.of(name)
        further = range(position + 1, len(self.road))
        promised = running[position] * to_end[position]
        promised += sum((waiting[at] + running[at]) * to_end[at] for at in further)
        paid = [spec.name for spec in self.road[position + 1 :] if spec.role != "cpu"]
        if stage in self.dearest and any(after not in self.dearest for after in paid):
            limit *= UNPROVED
        left = limit - self.spent.of(name) - promised
        if left <= 0 or left < to_end[position]:
            self.reason = self._said(name, stage, to_end[position])
            return 0
        room = math.floor(left / to_end[position]) if to_end[position] else sys.maxsize
        return room if stage in self.dearest else min(room, max(0, 1 - running[position]))

    def _said(self, name: str, stage: str, dearest: float) -> str:
        spent, limit = self.spent.of(name), self.limits[name]
        state = f"limits.{name}: {amount(spent)} of {amount(limit)} are spent"
        if spent >= limit:
            return state
        return f"{state}, and a shard from {stage} on takes up to {amount(dearest)}"


def amount(value: float) -> str:
    """`1,234,567`, `12.3`, `0.00123`: whole from a thousand on, else three figures."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
