"""How much trouble a run puts up with before it asks a person to look.

Items that the rules drop (no wrong path, no agreement) are data, however many. Items that were
dropped because something is broken are counted against what entered their stage.

Invariant: what was dropped stays counted in the commits; stopping loses nothing, and starting
again is the person's answer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from storage.errors import RunStopped
from storage.runs.commits import Receipt

TROUBLE = frozenset({"exception", "poison", "sandbox_lost"})
"""Reasons of a drop that say nothing about the item's quality."""


@dataclass(slots=True)
class Tolerance:
    """Counts troubled drops, stage by stage."""

    share: float = 0.2
    """Most items of a stage that may be dropped by trouble."""
    after: int = 50
    """Items before a share means anything."""
    _items: Counter[str] = field(default_factory=Counter)
    _dropped: Counter[str] = field(default_factory=Counter)

    def note(self, receipt: Receipt) -> None:
        """Take note of a commit. Raises RunStopped once a stage passes the share."""
        dropped = {reason: n for reason, n in receipt.drops.items() if reason in TROUBLE}
        entered = receipt.counts.get("items", receipt.rows + sum(receipt.drops.values()))
        self._items[receipt.stage] += entered
        if not dropped:
            return
        self._dropped[receipt.stage] += sum(dropped.values())
        items, lost = self._items[receipt.stage], self._dropped[receipt.stage]
        if items >= self.after and lost > self.share * items:
            raise RunStopped(
                f"{lost} of {items} items of {receipt.stage} were dropped by trouble (of late: "
                f"{', '.join(sorted(dropped))}), more than cluster.trouble_share allows; look "
                f"at the drops in its commits before going on"
            )
