"""Objects in a dictionary: for tests, simulation and trying things out.

Invariant: the contract of every other store, without a disk. Within one process a name always
opens the same objects.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from storage.errors import NothingFound
from storage.objects.store import Entry, Put, check_key, check_size


@dataclass(frozen=True, slots=True, eq=False)
class MemoryStore:
    """An object store that ends with the process."""

    name: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def url(self) -> str:
        """`memory://name`."""
        return f"memory://{self.name}"

    def put_new(self, key: str, data: bytes) -> Put:
        """Create an object under the lock; never replace one."""
        with self.lock:
            if check_key(key) in self.objects:
                return Put.EXISTS
            self.objects[key] = bytes(data)
            return Put.CREATED

    def get(self, key: str, most: int | None = None) -> bytes:
        """The object's bytes."""
        try:
            data = self.objects[check_key(key)]
        except KeyError:
            raise NothingFound(f"{self.url}: no object {key}") from None
        check_size(key, len(data), most)
        return data

    def list(self, prefix: str, after: str = "", strays: bool = False) -> Iterator[Entry]:
        """A snapshot of the matching keys; there are no strays."""
        for key, data in tuple(self.objects.items()):
            if key.startswith(prefix) and key > after:
                yield Entry(key, len(data))

    def files(self, prefix: str) -> Iterator[Entry]:
        """A snapshot of the keys without a further slash."""
        yield from (entry for entry in self.list(prefix) if "/" not in entry.key[len(prefix) :])

    def folders(self, prefix: str) -> Iterator[str]:
        """The names below the prefix."""
        rests = (key.removeprefix(prefix) for key, _ in self.list(prefix))
        yield from dict.fromkeys(rest.partition("/")[0] for rest in rests if "/" in rest)

    def modified(self, key: str) -> float | None:
        """No time is kept."""
        self.get(key)
        return None

    def delete(self, key: str) -> None:
        """Forget the object."""
        self.objects.pop(check_key(key), None)


_named: dict[str, MemoryStore] = {}
_lock = threading.Lock()


def memory_store(name: str) -> MemoryStore:
    """The process's memory store of that name."""
    with _lock:
        return _named.setdefault(name, MemoryStore(name))
