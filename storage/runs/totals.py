"""Sums over the commits of a stage, folded as they come.

Invariant: sums of any parts of a stage, added up, are the sums of the whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from storage.runs.commits import Receipt


@dataclass(frozen=True, slots=True)
class StageTotals:
    """Sums over the commits of a stage."""

    shards: int = 0
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    drops: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    busy_s: float | None = None
    """Seconds of workers, each split among the shards at once; None: not recorded."""


@dataclass(slots=True)
class Sums:
    """Totals that grow."""

    shards: int = 0
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    busy_s: float = 0.0
    drops: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, receipt: Receipt) -> None:
        """Count a commit."""
        self.shards += 1
        self.rows += receipt.rows
        self.bytes += receipt.bytes
        self.seconds += receipt.seconds
        self.busy_s += receipt.busy_s
        self.drops.update(receipt.drops)
        self.counts.update(receipt.counts)

    @property
    def totals(self) -> StageTotals:
        """The sums of now."""
        return StageTotals(
            self.shards,
            self.rows,
            self.bytes,
            round(self.seconds, 3),
            dict(self.drops),
            dict(self.counts),
            round(self.busy_s, 3),
        )


def same_totals(stored: StageTotals, ours: StageTotals) -> bool:
    """Whether stored totals are ours, as far as they were recorded."""
    return stored == (replace(ours, busy_s=None) if stored.busy_s is None else ours)


def sum_receipts(receipts: Iterable[Receipt]) -> StageTotals:
    """The sums of some receipts."""
    sums = Sums()
    for receipt in receipts:
        sums.add(receipt)
    return sums.totals
