"""What Stepmill asks of an object store: create-only PUT, GET, LIST, DELETE.

A key is a relative path of letters, digits and `._-=#` between single slashes. A store tries a PUT
once and returns what it knows. A caller that needs certainty reads the object back
(`storage.runs.commits`). The store itself retries reads, within bounds.

Invariant: an object is visible whole or not at all, and once visible it is never replaced. Only
`sweep` and `remove` delete data. Notes on work in progress are deleted when they are out of date.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from storage.errors import ObjectTooLarge

KEY = re.compile(r"[A-Za-z0-9._=#-]+(/[A-Za-z0-9._=#-]+)*")


class Put(enum.Enum):
    """What a store knows after one try at a create-only PUT."""

    CREATED = "created"
    """This call made the object."""
    EXISTS = "exists"
    """The store holds an object already; it may be this caller's own, after a lost reply."""
    UNKNOWN = "unknown"
    """No clear answer: the object may exist, appear later, or never appear."""


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

        Raises StoreUnavailable if the object was surely not created, StoreRefused if it is refused.
        """
        ...

    def get(self, key: str, most: int | None = None) -> bytes:
        """The whole object.

        Raises NothingFound, StoreUnavailable, StoreRefused, and ObjectTooLarge, before it is read,
        where it has more than `most` bytes.
        """
        ...

    def list(self, prefix: str, after: str = "", strays: bool = False) -> Iterator[Entry]:
        """Every object whose key starts with `prefix`, in any order.

        `after`: only keys that sort behind this one; a server does not list the others.
        `strays`: also what somebody else put there under a name that no key has.
        """
        ...

    def files(self, prefix: str) -> Iterator[Entry]:
        """The objects directly below `prefix`, which ends with a slash, in any order.

        Neither what lies deeper is listed, nor strays.
        """
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """The names between `prefix`, which ends with a slash, and the next slash of its keys.

        Each name comes once, in any order. The objects below are not listed, nor are strays.
        """
        ...

    def modified(self, key: str) -> float | None:
        """When an object was stored, in seconds since 1970 by the store's clock. For people only.

        None if the store keeps no time. Raises NothingFound, StoreUnavailable, StoreRefused.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object if it exists. For `sweep`, `remove` and for notes only."""
        ...


def check_key(key: str) -> str:
    """Return the key. Raises ValueError if it could lead out of the store's root."""
    if not is_key(key):
        raise ValueError(f"not an object key: {key!r}")
    return key


def confirmed(digest: str | None, md5: str) -> Put:
    """What a reply to a PUT says: CREATED where it has the digest of what was sent.

    `digest`: the reply's ETag, the MD5 of what the server stored. Without it somebody else may have
    answered; with another one, the server encrypts with a key of its own, or stored other bytes.
    Whoever asked then reads the object.
    """
    return Put.CREATED if (digest or "").strip('"').lower() == md5 else Put.UNKNOWN


def check_size(key: str, size: int, most: int | None) -> None:
    """Raise ObjectTooLarge if an object has more than `most` bytes."""
    if most is not None and size > most:
        raise ObjectTooLarge(f"{key} has {size:,} bytes, more than the {most:,} that it may have")


def is_key(key: str) -> bool:
    """Whether a store of ours could hold an object of that name."""
    return bool(KEY.fullmatch(key)) and all(part.strip(".") for part in key.split("/"))
