"""What Stepmill asks of an object store: create-only PUT, GET, LIST, DELETE.

A key is a relative path of letters, digits and `._-=#` between single slashes. A store makes one
try at a PUT and says what it knows; whoever needs certainty reads the object back
(`storage.runs.commits`). Reading is the store's own to retry, within bounds.

Invariant: an object is visible whole or not at all, and once visible it is never replaced. Only
`sweep` deletes what is made of the data; notes on what is under way go when they are out of date.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

KEY = re.compile(r"[A-Za-z0-9._=#-]+(/[A-Za-z0-9._=#-]+)*")


class Put(enum.Enum):
    """What a store knows after one try at a create-only PUT."""

    CREATED = "created"
    """This call made the object."""
    EXISTS = "exists"
    """The store says that there is one already: possibly this caller's own, after a lost reply."""
    UNKNOWN = "unknown"
    """No answer, or one that decides nothing: the object may be there, or appear, or not."""


class Entry(NamedTuple):
    """One object of a listing."""

    key: str
    size: int


class ObjectStore(Protocol):
    """A flat space of immutable objects. Implementations are thread-safe."""

    @property
    def url(self) -> str:
        """The URL that opens this store again; it holds no credentials."""
        ...

    def put_new(self, key: str, data: bytes) -> Put:
        """Create an object, never replace one.

        Raises StoreUnavailable where it surely was not made, StoreRefused where the store says no.
        """
        ...

    def get(self, key: str) -> bytes:
        """The whole object. Raises NothingFound, StoreUnavailable, StoreRefused."""
        ...

    def list(self, prefix: str) -> Iterator[Entry]:
        """Every object whose key starts with `prefix`, in any order, whatever their number."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; none of that name is fine. For `sweep` and for notes only."""
        ...


def check_key(key: str) -> str:
    """The key itself; a key that could leave the store's root is a programming error."""
    if not is_key(key):
        raise ValueError(f"not an object key: {key!r}")
    return key


def is_key(key: str) -> bool:
    """Whether a store could hold an object of that name."""
    return bool(KEY.fullmatch(key)) and all(part.strip(".") for part in key.split("/"))
