"""What a kill costs: engine seconds of work that was started and not committed.

A worker's time is shared by the shards that it has in flight; what a shard had got of it when its
try ended without a commit is lost. Tokens are those seconds at the rate of the stage's committed
shards.

Invariant: a worker's second is counted once, for the shards in flight in that second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

Try = tuple[str, int]
"""Stage and shard."""


@dataclass
class Lost:
    """What one kill cost."""

    seconds: float = 0.0
    by_stage: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    shards: int = 0


@dataclass
class Ledger:
    """Tries in flight, and how much of their workers' time they have had."""

    now: float = 0.0
    in_flight: dict[int, dict[Try, float]] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds of committed tries, per stage."""
    tokens: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Tokens of committed tries, per stage."""

    def advance(self, now: float) -> None:
        """Let time pass: each worker's goes to what it has in flight, in equal shares."""
        passed, self.now = max(0.0, now - self.now) if self.now else 0.0, now
        for tries in self.in_flight.values():
            for key in tries:
                tries[key] += passed / len(tries)

    def start(self, worker: int, stage: str, shard: int) -> None:
        """A worker was given a shard."""
        self.in_flight.setdefault(worker, {})[stage, shard] = 0.0

    def commit(self, worker: int, stage: str, shard: int, tokens: int) -> None:
        """A try ended with a commit."""
        spent = self.in_flight.get(worker, {}).pop((stage, shard), None)
        if spent is not None:
            self.spent[stage] += spent
            self.tokens[stage] += tokens

    def lose(self, worker: int, stage: str, shard: int) -> Lost:
        """A try ended without one."""
        lost = Lost()
        spent = self.in_flight.get(worker, {}).pop((stage, shard), None)
        if spent is not None:
            lost.seconds, lost.shards = spent, 1
            lost.by_stage[stage] = spent
        return lost

    def lose_workers(self, workers: Collection[int]) -> Lost:
        """Workers died with all they had in flight."""
        lost = Lost()
        for worker in workers:
            for stage, shard in list(self.in_flight.get(worker, {})):
                add(lost, self.lose(worker, stage, shard))
            self.in_flight.pop(worker, None)
        return lost

    def tokens_of(self, lost: Lost) -> float:
        """Tokens that the lost seconds are worth."""
        return sum(
            seconds * self.tokens[stage] / self.spent[stage]
            for stage, seconds in lost.by_stage.items()
            if self.spent[stage]
        )


def add(to: Lost, more: Lost) -> None:
    """Count `more` with `to`."""
    to.seconds += more.seconds
    to.shards += more.shards
    for stage, seconds in more.by_stage.items():
        to.by_stage[stage] += seconds
