"""Token ids of texts that were asked for lately, bounded by the bytes that they take.

Invariant: what is kept takes `most_bytes` at most, about: texts, and ids of four bytes each.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

ENTRY_BYTES = 300
"""Of an entry beside its text and ids."""

Key = TypeVar("Key", bound=Hashable)


class RecentIds(Generic[Key]):
    """Key -> token ids; the entries that were not asked for the longest go first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._known: OrderedDict[Key, tuple[array[int], int]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Key) -> array[int] | None:
        """The ids of a key; None where they are not kept."""
        found = self._known.get(key)
        if found is None:
            return None
        self._known.move_to_end(key)
        return found[0]

    def keep(self, key: Key, ids: Sequence[int], key_bytes: int) -> array[int]:
        """Keep the ids of a key that takes so many bytes, and return them."""
        _, before = self._known.pop(key, (None, 0))
        self.bytes -= before
        kept = array("I", ids)
        size = ENTRY_BYTES + key_bytes + kept.itemsize * len(kept)
        self.bytes += size
        self._known[key] = kept, size
        while self.bytes > self._most_bytes and self._known:
            _, (_, gone) = self._known.popitem(last=False)
            self.bytes -= gone
        return kept
