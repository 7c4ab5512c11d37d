"""A set of shard numbers, and the blocks into which a stage's shards are cut for summaries.

Invariant: a set takes one bit per shard of the plan, whatever is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from itertools import groupby

BLOCK = 1_000
"""Shards of a block. The keys of a block's commits differ in their last three digits alone."""

MOST = 10**9
"""More shards than any plan has."""


class ShardSet(MutableSet[int]):
    """Some shards of a plan; also the set that `&`, `|` and `-` of two of them give."""

    __slots__ = ("_bits", "_count")

    def __init__(self, shards: Iterable[int] = ()) -> None:
        self._bits = bytearray()
        self._count = 0
        self.update(shards)

    def __contains__(self, shard: object) -> bool:
        return (
            isinstance(shard, int)
            and 0 <= shard < 8 * len(self._bits)
            and bool(self._bits[shard >> 3] & 1 << (shard & 7))
        )

    def __iter__(self) -> Iterator[int]:
        """In order."""
        for place, bits in enumerate(self._bits):
            if bits:
                yield from (8 * place + bit for bit in range(8) if bits & 1 << bit)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"ShardSet({self.ranges()})"

    def add(self, shard: int) -> None:
        """Add a shard. Raises ValueError for a negative number."""
        if shard < 0:
            raise ValueError(f"there is no shard {shard}")
        if (shard >> 3) >= len(self._bits):
            self._bits.extend(bytes((shard >> 3) + 1 - len(self._bits)))
        if shard not in self:
            self._bits[shard >> 3] |= 1 << (shard & 7)
            self._count += 1

    def update(self, shards: Iterable[int]) -> None:
        """Add some shards."""
        for shard in shards:
            self.add(shard)

    def discard(self, shard: int) -> None:
        """Take a shard out."""
        if shard in self:
            self._bits[shard >> 3] &= ~(1 << (shard & 7))
            self._count -= 1

    def ranges(self) -> list[tuple[int, int]]:
        """(first, last) of every run of shards without a gap."""
        runs = (
            [shard for _, shard in group]
            for _, group in groupby(enumerate(self), lambda pair: pair[1] - pair[0])
        )
        return [(run[0], run[-1]) for run in runs]


def block_of(shard: int) -> int:
    """The block of a shard."""
    return shard // BLOCK


def begins_with(block: int) -> str:
    """With what the names of a block's commits and data begin, and those of hardly any other."""
    return f"{BLOCK * block:06d}".removesuffix(f"{BLOCK}"[1:])


def blocks_among(shards: Iterable[int]) -> Iterator[list[int]]:
    """Some shards, which come in order, block by block."""
    for _, group in groupby(shards, block_of):
        yield list(group)


def blocks_of(shards: int) -> range:
    """The blocks of a plan of so many shards."""
    return range(-(-shards // BLOCK))


def shards_in(block: int, shards: int = MOST) -> range:
    """The shards of a block in a plan of so many."""
    return range(block * BLOCK, min(shards, (block + 1) * BLOCK))
