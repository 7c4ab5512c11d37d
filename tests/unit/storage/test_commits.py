"""Every answer a store can give to the commit, and what becomes of it."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from storage.errors import CommitUnknown, NothingFound, ObjectCorrupt, StoreUnavailable
from storage.objects.memory import MemoryStore
from storage.objects.patience import Patience
from storage.objects.store import Entry, Put
from storage.rows.records import Drop, Problem
from storage.runs import commits, layout
from storage.runs.commits import Commit, Receipt

QUICK = Patience(tries=4, sleep=lambda _: None)
ROWS = [Problem("p1", "q", "1"), Problem("p2", "q", "2")]
KEY = layout.commit_key("r", "problems", 3)


@dataclasses.dataclass
class Scripted:
    """A memory store whose answers about commits come from a list, then from the truth."""

    truth: MemoryStore = dataclasses.field(default_factory=MemoryStore)
    puts: list[Callable[[str, bytes], Put]] = dataclasses.field(default_factory=list)
    gets: list[Callable[[str], bytes]] = dataclasses.field(default_factory=list)
    deleted: list[str] = dataclasses.field(default_factory=list)
    url: str = "memory://scripted"

    def put_new(self, key: str, data: bytes) -> Put:
        if "/commits/" in key and self.puts:
            return self.puts.pop(0)(key, data)
        return self.truth.put_new(key, data)

    def get(self, key: str, most: int | None = None) -> bytes:
        if "/commits/" in key and self.gets:
            return self.gets.pop(0)(key)
        return self.truth.get(key)

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        return self.truth.list(prefix, after)

    def delete(self, key: str) -> None:
        self.deleted.append(key)


def publish(store: Any, rows: list[Problem] = ROWS) -> Receipt:
    return commits.publish(
        store, "r", "problems", 3, Problem, rows, spec="f", drops=[Drop("p9", "odd", "x")],
        counts={"tokens": 5}, seconds=1.23456, patience=QUICK,
    )  # fmt: skip


def unavailable(*_: Any) -> Any:
    raise StoreUnavailable("no answer")


def test_a_plain_success_needs_no_reading_back() -> None:
    store = Scripted(gets=[unavailable])
    receipt = publish(store)
    assert receipt.won
    assert store.gets == [unavailable]
    assert (receipt.rows, receipt.drops, receipt.counts, receipt.seconds) == (
        2,
        {"odd": 1},
        {"tokens": 5},
        1.235,
    )


def test_a_twin_adopts_the_commit_that_was_first() -> None:
    store = Scripted()
    first, second = publish(store), publish(store, ROWS[:1])
    assert (first.won, second.won) == (True, False)
    assert second == dataclasses.replace(first, won=False)


def test_every_unclear_answer_is_settled_by_reading_back() -> None:
    def exists(*_: Any) -> Put:
        return Put.EXISTS

    def unknown(*_: Any) -> Put:
        return Put.UNKNOWN

    def lost_reply(store: Scripted) -> Callable[[str, bytes], Put]:
        def put(key: str, data: bytes) -> Put:
            store.truth.put_new(key, data)
            return Put.UNKNOWN

        return put

    def late(store: Scripted) -> Callable[[str, bytes], Put]:
        def put(key: str, data: bytes) -> Put:
            store.truth.put_new(key, data)
            raise StoreUnavailable("timed out, yet applied")

        return put

    table: list[tuple[str, Callable[[Scripted], list[Callable[[str, bytes], Put]]]]] = [
        ("reply lost", lambda store: [lost_reply(store)]),
        ("raised, yet applied", lambda store: [late(store)]),
        ("said to exist, nothing stored", lambda store: [exists]),
        ("said to exist twice, nothing stored", lambda store: [exists, exists]),
        ("no answer, nothing stored", lambda store: [unknown]),
        ("refused connections", lambda store: [unavailable, unavailable, unavailable]),
        ("exists, then applied without a reply", lambda store: [exists, lost_reply(store)]),
    ]
    for name, answers in table:
        store = Scripted()
        store.puts = answers(store)
        receipt = publish(store)
        assert receipt.won, name
        assert commits.read_commit(store.truth, KEY).attempt == receipt.attempt, name
        assert store.deleted == [], name


@pytest.mark.parametrize("reads", ["unavailable", "damaged", "absent"])
def test_what_can_not_be_settled_is_unknown_and_nothing_is_deleted(reads: str) -> None:
    def get(key: str) -> bytes:
        if reads == "absent":
            raise NothingFound(key)
        return b'{"stage": "problems"' if reads == "damaged" else unavailable()

    store = Scripted(puts=[lambda *_: Put.UNKNOWN] * 9, gets=[get] * 9)
    with pytest.raises(CommitUnknown, match="in 4 tries"):
        publish(store)
    assert store.deleted == []
    assert any("/data/" in key for key in store.truth.objects)


def test_data_that_exists_with_the_same_digest_is_as_good_as_ours() -> None:
    store = MemoryStore()
    publish(store)
    store.delete(KEY)
    assert publish(store).won


def test_data_whose_key_holds_other_bytes_goes_under_the_next_and_is_reported_at_last() -> None:
    store = MemoryStore()
    publish(store)
    store.delete(KEY)
    (key,) = store.objects
    for number in range(commits.SPARE_KEYS - 1):
        store.objects[layout.spare_key(key, number)] = b"damaged"
        publish(store)
        spare = layout.spare_key(key, number + 1)
        assert commits.read_commit(store, KEY).data_key == spare
        assert layout.shard_of(spare) == 3
        store.delete(KEY)
    store.objects[spare] = b"damaged"
    with pytest.raises(ObjectCorrupt, match=spare):
        publish(store)
    assert KEY not in store.objects


def test_a_store_that_never_takes_the_data_is_unavailable() -> None:
    class Down(MemoryStore):
        def put_new(self, key: str, data: bytes) -> Put:
            return Put.UNKNOWN

    with pytest.raises(StoreUnavailable, match="in 4 tries"):
        publish(Down())


def test_a_commit_reads_back_whole_with_any_text_in_its_drops() -> None:
    store = MemoryStore()
    drops = (Drop("p", "exception", "ä\n\ud83d {\"'}"), Drop("q", "odd"))
    commits.publish(store, "r", "problems", 3, Problem, ROWS, spec="f", drops=drops)
    assert commits.read_commit(store, KEY).drops == drops


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: b"",
        lambda body: b"{",
        lambda body: b"[]",
        lambda body: b"\xff\xfe",
        lambda body: json.dumps(body | {"rows": 99}).encode(),
        lambda body: json.dumps(body | {"extra": 1}).encode(),
        lambda body: json.dumps({k: v for k, v in body.items() if k != "sha256"}).encode(),
        lambda body: json.dumps(body | {"writer": None}).encode(),
        lambda body: json.dumps(body | {"drops": [["p"]]}).encode(),
    ],
)
def test_a_damaged_commit_is_no_commit(damage: Callable[[dict[str, Any]], bytes]) -> None:
    store = MemoryStore()
    publish(store)
    store.objects[KEY] = damage(json.loads(store.objects[KEY]))
    with pytest.raises(ObjectCorrupt, match=KEY):
        commits.read_commit(store, KEY)


def test_receipts_and_commits_survive_pickling() -> None:
    store = MemoryStore()
    receipt = publish(store)
    commit = commits.read_commit(store, KEY)
    copy: tuple[Receipt, Commit] = pickle.loads(pickle.dumps((receipt, commit)))
    assert copy == (receipt, commit)


def test_patience_ends_after_its_tries_and_its_deadline() -> None:
    slept: list[float] = []
    impatient = Patience(tries=6, first_s=1, longest_s=5, sleep=slept.append, random=lambda: 1.0)
    assert list(impatient.attempts()) == [0, 1, 2, 3, 4, 5]
    assert slept == [1, 2, 4, 5, 5]
    clock = iter([0.0, 50.0, 130.0])
    late = Patience(tries=99, sleep=slept.append, clock=lambda: next(clock))
    assert list(late.attempts()) == [0, 1]


def test_the_usual_patience_outlasts_a_minute_and_ends_within_three() -> None:
    for chance in (0.0, 1.0):
        slept: list[float] = []
        usual = Patience(
            sleep=slept.append,
            clock=partial(sum, slept),
            random=partial(float, chance),
        )
        assert len(list(usual.attempts())) > 5
        assert 60 < sum(slept) < 180
