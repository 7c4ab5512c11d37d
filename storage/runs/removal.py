"""Takes a run, or a training, out of its store as a whole. A tombstone stays.

    runs/{run}/removed.json            create-only, before the first object is deleted
    trainings/{name}/removed.json

Every writer looks for the tombstone before it writes and again afterwards. If it finds one, it
takes back what it wrote and ends with `Removed`. So a build that is still alive can't bring the run
back. What a killed writer leaves behind goes when `remove` is repeated.

Invariant: nothing that was written after the tombstone counts. A name is given again only after a
person said that no writer is left (`free`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice

from storage.errors import (
    CommitUnknown,
    NothingFound,
    ObjectCorrupt,
    Removed,
    StepmillError,
    StoreRefused,
    StoreUnavailable,
)
from storage.fault_points import fault
from storage.objects.local import LocalStore
from storage.objects.patience import PATIENT, Patience
from storage.objects.store import ObjectStore
from storage.runs.documents import MOST_BYTES, parsed, read_as

DELETERS = 16
"""Objects deleted at once."""
Deleted = Callable[[int], None]
"""Called with the number of objects deleted so far."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Who removed a run, and when; for people only."""

    by: str
    at: str
    """Time by the clock of the machine that removed it."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a run lies in the store."""

    objects: int
    bytes: int


UNREADABLE = Tombstone("somebody", "")
"""What stands for a tombstone that is damaged: nothing is deleted on its word."""


def tombstone_key(prefix: str) -> str:
    """Key of the tombstone of what lies below a prefix, `runs/NAME/` or `trainings/NAME/`."""
    return f"{prefix}removed.json"


def tombstone_of(store: ObjectStore, prefix: str) -> Tombstone | None:
    """The tombstone below a prefix; None if nothing was removed there."""
    key = tombstone_key(prefix)
    try:
        return read_as(Tombstone, key, parsed(key, store.get(key, MOST_BYTES)))
    except NothingFound:
        return None
    except ObjectCorrupt:
        return UNREADABLE


def refuse_removed(store: ObjectStore, prefix: str) -> None:
    """Raise Removed if there is a tombstone."""
    if (stone := tombstone_of(store, prefix)) is None:
        return
    kind, name = prefix.rstrip("/").split("/")
    what = f"run {name!r}" if kind == "runs" else f"training {name!r}"
    named = name if kind == "runs" else f"training:{name}"
    when = f" on {stone.at}" if stone.at else ""
    raise Removed(
        f"{what} was removed by {stone.by}{when}: take another name (where surely no process of "
        f"it is alive, `stepmill remove {named} --free-name` makes this one free again)"
    )


@contextmanager
def obeyed(
    store: ObjectStore, prefix: str, keys: Callable[[], Sequence[str]] | None = None
) -> Iterator[None]:
    """Surround what writes below a prefix. Raises Removed where the tombstone is found.

    `keys` returns what to take back; None: all that lies below the prefix. An error may be one of
    the removal, e.g. an object that is gone. A writer that its store fails does not look again: the
    store may be out of reach for long.
    """
    refuse_removed(store, prefix)
    try:
        yield
        refuse_removed(store, prefix)
    except (StoreUnavailable, StoreRefused, CommitUnknown):
        raise
    except StepmillError:
        if tombstone_of(store, prefix) not in (None, UNREADABLE):
            for part in _rest(store, prefix) if keys is None else [keys()]:
                _delete(store, part)
            refuse_removed(store, prefix)
        raise


def extent_of(store: ObjectStore, prefix: str) -> Extent:
    """The objects below a prefix and their bytes, by one listing; the tombstone does not count."""
    objects = size = 0
    for entry in store.list(prefix):
        if entry.key != tombstone_key(prefix):
            objects, size = objects + 1, size + entry.size
    return Extent(objects, size)


def remove(
    store: ObjectStore,
    prefix: str,
    stone: Tombstone,
    deleted: Deleted = lambda count: None,
    patience: Patience = PATIENT,
) -> int:
    """Store the tombstone, then delete all else below the prefix; return the number deleted.

    Repeating it deletes what came later. Raises StoreUnavailable and StoreRefused, also for a
    folder that lies elsewhere, behind a link.
    """
    if isinstance(store, LocalStore):
        store.refuse_links(prefix)
    _bury(store, prefix, stone, patience)
    fault("after_tombstone")
    count, found = 0, -1
    while found:  # until a listing finds nothing: a writer may be alive
        found = 0
        for part in _rest(store, prefix):
            _delete(store, part)
            found += len(part)
            deleted(count + found)
        count += found
    return count


def free(store: ObjectStore, prefix: str) -> None:
    """Delete the tombstone of what was removed. Only a person can know that no writer is left."""
    if isinstance(store, LocalStore):
        store.refuse_links(prefix)
    while any([_delete(store, part) for part in _rest(store, prefix)]):
        continue
    store.delete(tombstone_key(prefix))


def _bury(store: ObjectStore, prefix: str, stone: Tombstone, patience: Patience) -> None:
    """Store the tombstone, and read it back: until it surely stands nothing is deleted."""
    key, data = tombstone_key(prefix), json.dumps(asdict(stone)).encode()
    trouble = "no answer"
    for _ in patience.attempts():
        try:
            store.put_new(key, data)
            store.get(key)
            return
        except NothingFound:
            trouble = "not stored"
        except StoreUnavailable as error:
            trouble = str(error)
    raise StoreUnavailable(f"{key} could not be stored in {patience.tries} tries: {trouble}")


def _rest(store: ObjectStore, prefix: str) -> Iterator[list[str]]:
    """The keys below a prefix but the tombstone's, a thousand at a time."""
    stone = tombstone_key(prefix)
    keys = (entry.key for entry in store.list(prefix) if entry.key != stone)
    while part := list(islice(keys, 64 * DELETERS)):
        yield part


def _delete(store: ObjectStore, keys: Sequence[str]) -> int:
    """Delete some objects; return how many."""
    with ThreadPoolExecutor(DELETERS) as deleters:
        return len(list(deleters.map(store.delete, keys)))
