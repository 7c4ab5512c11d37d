"""The summaries of a run's blocks in its store: which there are, what they say, writing one.

Invariant: a block whose summary is listed is committed as a whole. A summary that can't be read
counts as absent wherever the commits can be read instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from storage.errors import NothingFound, ObjectCorrupt
from storage.objects.patience import Patience
from storage.objects.store import ObjectStore
from storage.rows.parquet import sha256_of
from storage.runs import layout
from storage.runs.commits import Receipt
from storage.runs.documents import MOST_COMMIT_BYTES, put_settled
from storage.runs.removal import obeyed
from storage.summaries.shards import ShardSet, blocks_of, shards_in
from storage.summaries.summary import Summary, summary_bytes, summary_from, summary_of

SORTED = 10**6
"""Shards up to which the order of their keys is that of their numbers."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of one run."""

    store: ObjectStore
    run: str
    spec: str
    """Fingerprint of the run's spec."""
    shards: int
    """Shards of the plan."""
    patience: Patience

    @property
    def summed_up(self) -> bool:
        """Whether the run has summaries at all."""
        return len(self.all) > 1

    @property
    def all(self) -> range:
        """Every block of the plan."""
        return blocks_of(self.shards)

    def shards_in(self, block: int) -> range:
        """The shards of a block."""
        return shards_in(block, self.shards)

    def there(self, stage: str) -> list[int]:
        """The blocks that have a summary, in order; one listing."""
        if not self.summed_up:
            return []
        prefix = layout.summary_prefix(self.run, stage)
        found = (layout.shard_of(entry.key) for entry in self.store.list(prefix))
        return sorted(block for block in found if block is not None and block in self.all)

    def committed(self, stage: str) -> ShardSet:
        """The committed shards of a stage, by its summaries and one listing of other commits."""
        found, first = ShardSet(), 0
        for block in self.there(stage):
            found.update(self.shards_in(block))
            first = block + 1 if block == first else first
        prefix, skipped = layout.commit_prefix(self.run, stage), self.shards_in(first - 1)
        after = layout.commit_key(self.run, stage, skipped[-1]) if first else ""
        for entry in self.store.list(prefix, after if self.shards <= SORTED else ""):
            shard = layout.shard_of(entry.key)
            if shard is not None and shard < self.shards:
                found.add(shard)
        return found

    def read(self, stage: str, block: int) -> tuple[Summary, str]:
        """A block's summary, and the digest of its bytes. Raises NothingFound, ObjectCorrupt."""
        key = layout.summary_key(self.run, stage, block)
        data = self.store.get(key, MOST_COMMIT_BYTES)
        summary = summary_from(key, data, stage, block, len(self.shards_in(block)))
        if summary.spec != self.spec:
            raise ObjectCorrupt(f"{key} was written for another spec")
        return summary, sha256_of(data)

    def find(self, stage: str, block: int) -> Summary | None:
        """A block's summary; None for one that is not there or can't be read."""
        try:
            return self.read(stage, block)[0] if self.summed_up else None
        except (NothingFound, ObjectCorrupt):
            return None

    def part(self, stage: str, block: int, digest: str) -> Summary:
        """The summary that `_SUCCESS.json` names of a block. Raises ObjectCorrupt."""
        key = layout.summary_key(self.run, stage, block)
        try:
            summary, stored = self.read(stage, block)
        except NothingFound:
            raise ObjectCorrupt(f"{key} is gone: named as sha256 {digest}") from None
        if stored != digest:
            raise ObjectCorrupt(f"{key} is damaged: named as sha256 {digest}, read as {stored}")
        return summary

    def ensure(
        self, stage: str, block: int, receipts: Callable[[str, int], Sequence[Receipt]]
    ) -> tuple[Summary, str]:
        """A block's summary and its digest; it is made of all `receipts` if it is not there."""
        try:
            return self.read(stage, block)
        except NothingFound:
            return self.write(stage, block, receipts(stage, block))

    def write(self, stage: str, block: int, receipts: Sequence[Receipt]) -> tuple[Summary, str]:
        """Store the summary of a block, of which `receipts` are all; return it and its digest.

        Raises Removed, ObjectCorrupt where another one is stored, and the store's errors.
        """
        key, summary = (
            layout.summary_key(self.run, stage, block),
            summary_of(stage, block, self.spec, receipts),
        )
        data = summary_bytes(summary)
        with obeyed(self.store, layout.run_prefix(self.run), lambda: (key,)):
            standing = put_settled(self.store, key, data, self.patience)
        if standing != data:
            raise ObjectCorrupt(f"{key} sums up other commits than are stored; run `audit`")
        return summary, sha256_of(data)
