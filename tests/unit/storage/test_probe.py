"""The probe refuses every kind of store that would lose rows, and says what it did wrong."""

from __future__ import annotations

import pytest

from storage.errors import NothingFound, StoreRefused, StoreUnavailable
from storage.objects.memory import MemoryStore
from storage.objects.patience import Patience
from storage.objects.probe import probe_store
from storage.objects.store import Put

QUICK = Patience(tries=3, sleep=lambda _: None)


class Replacing(MemoryStore):
    def put_new(self, key: str, data: bytes) -> Put:
        self.objects[key] = data
        return Put.CREATED


class NeverNew(MemoryStore):
    def put_new(self, key: str, data: bytes) -> Put:
        self.objects.setdefault(key, b"somebody else's")
        return Put.EXISTS


class Shortening(MemoryStore):
    def get(self, key: str, most: int | None = None) -> bytes:
        return super().get(key)[:-1]


class Hiding(MemoryStore):
    def get(self, key: str, most: int | None = None) -> bytes:
        raise NothingFound(key)


class AlwaysFirst(MemoryStore):
    def put_new(self, key: str, data: bytes) -> Put:
        super().put_new(key, data)
        return Put.CREATED


class SeveralWinners(MemoryStore):
    """Right where nobody races."""

    def put_new(self, key: str, data: bytes) -> Put:
        outcome = super().put_new(key, data)
        return Put.CREATED if "race" in key else outcome


class NoWinner(MemoryStore):
    def put_new(self, key: str, data: bytes) -> Put:
        outcome = super().put_new(key, data)
        return Put.EXISTS if "race" in key else outcome


class OthersBytes(MemoryStore):
    def put_new(self, key: str, data: bytes) -> Put:
        outcome = super().put_new(key, data)
        if "race" in key:
            self.objects[key] = b"\xff" * len(data)
        return outcome


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Replacing, "it replaces an object that must only be created"),
        (NeverNew, "it says that a new object exists already"),
        (Shortening, "it returned 4 other bytes than were written"),
        (Hiding, "it does not show an object that it acknowledged"),
        (AlwaysFirst, "it reports a second creation of the same object"),
        (SeveralWinners, "16 of 16 racing writers were told they won"),
        (NoWinner, "none of 16 racing writers was told it won"),
        (OthersBytes, "the bytes that stand after a race are not the winner's"),
    ],
)
def test_a_store_that_breaks_the_promise_is_refused(kind: type[MemoryStore], wrong: str) -> None:
    store = kind("broken")
    with pytest.raises(StoreRefused, match=f"memory://broken can't hold a run: {wrong}; use a"):
        probe_store(store, QUICK)
    assert store.objects == {}


def test_a_store_that_never_answers_clearly_may_be_tried_again() -> None:
    class Unclear(MemoryStore):
        def put_new(self, key: str, data: bytes) -> Put:
            return Put.UNKNOWN

    with pytest.raises(StoreUnavailable, match=r"no clear answer to PUT .* in 3 tries"):
        probe_store(Unclear("u"), QUICK)
