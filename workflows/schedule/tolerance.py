"""How much trouble a run puts up with before it asks a person to look.

Items that the rules drop (no wrong path, no agreement) are data, however many; texts of no use are
the floor's (`actors.workers.yields`). Items that were dropped because something is broken are
counted against what entered their stage, exceptions among them more strictly: they are our own
faults.

Invariant: what was dropped stays counted in the commits; stopping loses nothing, and starting
again, which counts anew, is the person's answer.
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
"""Reasons of a drop that say nothing about the item's quality."""
EXCEPTIONS_AFTER = 200
"""Items before the share of exceptions means anything."""
NAMED = 3
"""Items that are named when a run stops."""

DropsOf = Callable[[Receipt], Sequence[Drop]]
"""A receipt -> the drops of its commit."""


@dataclass(slots=True)
class Tolerance:
    """Counts troubled drops, stage by stage."""

    share: float = 0.2
    """Most items of a stage that may be dropped by trouble."""
    after: int = 50
    """Items before a share means anything."""
    exceptions: float = 0.01
    """Most items of a stage that may end in an exception."""
    drops_of: DropsOf = field(default=lambda receipt: ())
    """Asked once, when the run stops."""
    _items: Counter[str] = field(default_factory=Counter)
    _dropped: Counter[str] = field(default_factory=Counter)
    _raised: Counter[str] = field(default_factory=Counter)

    def note(self, receipt: Receipt) -> None:
        """Take note of a commit. Raises RunStopped once a stage passes a share."""
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
            said = f"{lost} of {items} items of {stage} were dropped by trouble", "trouble_share"
        elif items >= EXCEPTIONS_AFTER and raised > self.exceptions * items:
            said = f"{raised} of {items} items of {stage} ended in exceptions", "exception_share"
        else:
            return
        raise RunStopped(
            f"{said[0]}, more than cluster.{said[1]} allows (of late: "
            f"{', '.join(sorted(dropped))}){self._named(receipt)}"
        )

    def _named(self, receipt: Receipt) -> str:
        """Some of what was dropped last, a line each."""
        found: Sequence[Drop] = ()
        with contextlib.suppress(InfrastructureError):
            found = [drop for drop in self.drops_of(receipt) if drop.reason in TROUBLE]
        lines = [f"\n  {drop.item} ({drop.reason}): {drop.detail}" for drop in found[:NAMED]]
        return "".join(lines)
