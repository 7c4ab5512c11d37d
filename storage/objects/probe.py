"""Tests that a store creates an object only once; Stepmill's safety rests on that.

A store that ignores the condition would lose rows silently, so the probe refuses it before a run
starts. The probe creates one key twice, then lets sixteen writers race for another. Only a race
exposes a store that checks first and writes afterwards.

Invariant: in a store that passes, each race had exactly one winner, whose bytes are stored. The
probe removes its own objects in every case.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

from storage.errors import InfrastructureError, NothingFound, StoreRefused, StoreUnavailable
from storage.objects.patience import Patience
from storage.objects.store import ObjectStore, Put

WRITERS = 16
RACES = 6
"""A store that checks first and writes afterwards survives about one race in six."""
RACE_BYTES = 1_024
BRIEF = Patience(tries=6, first_s=0.2, deadline_s=20.0)
"""Short, so that a wrong URL is reported within seconds."""


def probe_store(store: ObjectStore, patience: Patience = BRIEF) -> None:
    """Raise StoreRefused, naming the failed check, for a store that can't hold a run."""
    folder = f".probe/{uuid.uuid4().hex}"
    try:
        _create_twice(store, f"{folder}/twice", patience)
        for race in range(RACES):
            _race(store, f"{folder}/race-{race}")
    finally:
        for name in ("twice", *(f"race-{race}" for race in range(RACES))):
            with contextlib.suppress(InfrastructureError):
                store.delete(f"{folder}/{name}")


def _create_twice(store: ObjectStore, key: str, patience: Patience) -> None:
    first = _decided(store, key, b"first", patience)
    if first is not Put.CREATED and _stands(store, key) != b"first":
        raise _refused(store, "it says that a new object exists already")
    second = _decided(store, key, b"second", patience)
    stored = _stands(store, key)
    if stored == b"second":
        raise _refused(store, "it replaces an object that must only be created")
    if stored != b"first":
        raise _refused(store, f"it returned {len(stored)} other bytes than were written")
    if second is Put.CREATED:
        raise _refused(store, "it reports a second creation of the same object")


def _race(store: ObjectStore, key: str) -> None:
    start = threading.Barrier(WRITERS)

    def write(writer: int) -> Put:
        start.wait()
        return store.put_new(key, bytes([writer]) * RACE_BYTES)

    with ThreadPoolExecutor(WRITERS) as writers:
        outcomes = list(writers.map(write, range(WRITERS)))
    winners = [writer for writer, outcome in enumerate(outcomes) if outcome is Put.CREATED]
    if len(winners) > 1:
        raise _refused(store, f"{len(winners)} of {WRITERS} racing writers were told they won")
    if not winners and Put.UNKNOWN not in outcomes:
        raise _refused(store, f"none of {WRITERS} racing writers was told it won")
    stored = _stands(store, key)
    winner = winners[0] if winners else stored[0]
    if stored != bytes([winner]) * RACE_BYTES:
        raise _refused(store, "the bytes that stand after a race are not the winner's")


def _decided(store: ObjectStore, key: str, data: bytes, patience: Patience) -> Put:
    """PUT until the store gives a clear answer: a lost reply says nothing about its promise."""
    for _ in patience.attempts():
        outcome = store.put_new(key, data)
        if outcome is not Put.UNKNOWN:
            return outcome
    raise StoreUnavailable(f"{store.url}: no clear answer to PUT {key} in {patience.tries} tries")


def _stands(store: ObjectStore, key: str) -> bytes:
    try:
        return store.get(key)
    except NothingFound:
        raise _refused(store, "it does not show an object that it acknowledged") from None


def _refused(store: ObjectStore, what: str) -> StoreRefused:
    return StoreRefused(
        f"{store.url} can't hold a run: {what}; use a store whose PUT honours `If-None-Match: *`"
    )
