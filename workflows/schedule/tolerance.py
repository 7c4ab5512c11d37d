"""Stops a run for a person to look at it when faults drop too many items.

Items dropped by the rules, such as problems without a wrong path, are data: they stop no run.
Useless texts are counted in `actors.workers.yields`. Here items dropped by faults are counted, as
a share of the items that entered their stage. Exceptions have a lower limit, as they are our bugs.

Invariant: the commits keep all drops, so stopping loses nothing. To go on, a person starts the
run again, which counts from zero.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from storage.errors import Broken, InfrastructureError, RunStopped
from storage.rows.records import Drop
from storage.runs.commits import Receipt

TROUBLE = frozenset(Broken)
"""Reasons to drop an item that are faults of the system."""
EXCEPTIONS_AFTER = 200
"""Least items of a stage before its share of exceptions is judged."""
NAMED = 3
"""Dropped items that the error names."""

DropsOf = Callable[[Receipt], Sequence[Drop]]
"""Reads the drops of a receipt's commit."""


@dataclass(slots=True)
class Tolerance:
    """Counts the items dropped by faults, stage by stage."""

    share: float = 0.2
    """Largest share of a stage's items that faults may drop."""
    after: int = 50
    """Least items of a stage before its share is judged."""
    exceptions: float = 0.01
    """Largest share of a stage's items that may end in an exception."""
    drops_of: DropsOf = field(default=lambda receipt: ())
    """Called once, when the run stops."""
    _items: Counter[str] = field(default_factory=Counter)
    _dropped: Counter[str] = field(default_factory=Counter)
    _raised: Counter[str] = field(default_factory=Counter)

    def note(self, receipt: Receipt) -> None:
        """Count a commit. Raises RunStopped once a stage exceeds a share."""
        stage = receipt.stage
        dropped = {reason: n for reason, n in receipt.drops.items() if reason in TROUBLE}
        entered = receipt.counts.get("items", receipt.rows + sum(receipt.drops.values()))
        self._items[stage] += entered
        if not dropped:
            return
        self._dropped[stage] += sum(dropped.values())
        self._raised[stage] += dropped.get(Broken.EXCEPTION, 0)
        items, lost, raised = self._items[stage], self._dropped[stage], self._raised[stage]
        if items >= self.after and lost > self.share * items:
            excess = f"{lost} of {items} items of {stage} were dropped by trouble", "trouble_share"
        elif items >= EXCEPTIONS_AFTER and raised > self.exceptions * items:
            excess = f"{raised} of {items} items of {stage} ended in exceptions", "exception_share"
        else:
            return
        raise RunStopped(
            f"{excess[0]}, more than cluster.{excess[1]} allows (of late: "
            f"{', '.join(sorted(dropped))}){self._named(receipt)}"
        )

    def _named(self, receipt: Receipt) -> str:
        """Some of the commit's dropped items, a line each."""
        drops: Sequence[Drop] = ()
        with contextlib.suppress(InfrastructureError):
            drops = [drop for drop in self.drops_of(receipt) if drop.reason in TROUBLE]
        lines = [f"\n  {drop.item} ({drop.reason}): {drop.detail}" for drop in drops[:NAMED]]
        return "".join(lines)
