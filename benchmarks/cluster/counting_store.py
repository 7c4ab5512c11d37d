"""A store that counts its requests by kind, and the bytes of rows that each stage reads.

Invariant: a LIST counts once for each page of 1,000 keys, as an S3 server counts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

from storage.objects.store import Entry, ObjectStore, Put

PAGE = 1_000
working_at: ContextVar[str] = ContextVar("working_at", default="")
"""The stage that the current task makes a shard of."""


@dataclass(frozen=True)
class CountingStore:
    """A store that counts what is asked of it."""

    inner: ObjectStore
    asked: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    """Stage that was being made -> bytes of rows that were read for it."""

    @property
    def url(self) -> str:
        """The inner store's."""
        return self.inner.url

    def put_new(self, key: str, data: bytes) -> Put:
        """Count a PUT."""
        self.asked["PUT"] += 1
        return self.inner.put_new(key, data)

    def get(self, key: str, most: int | None = None) -> bytes:
        """Count a GET, of rows or of something else."""
        rows = "/data/" in key or "/needed/" in key
        self.asked["GET rows" if rows else "GET"] += 1
        data = self.inner.get(key, most)
        if rows:
            self.read[working_at.get()] += len(data)
        return data

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Count the pages."""
        return self._paged(self.inner.list(prefix, after))

    def files(self, prefix: str) -> Iterator[Entry]:
        """Count the pages."""
        return self._paged(self.inner.files(prefix))

    def _paged(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        self.asked["LIST"] += 1
        for number, entry in enumerate(entries):
            self.asked["LIST"] += bool(number) and number % PAGE == 0
            yield entry

    def folders(self, prefix: str) -> Iterator[str]:
        """Count the pages."""
        self.asked["LIST"] += 1
        return self.inner.folders(prefix)

    def modified(self, key: str) -> float | None:
        """Count a HEAD."""
        self.asked["HEAD"] += 1
        return self.inner.modified(key)

    def delete(self, key: str) -> None:
        """Count a DELETE."""
        self.asked["DELETE"] += 1
        self.inner.delete(key)
