"""One contract, every store: whole or absent, created once, never replaced, listed completely."""

from __future__ import annotations

import os
import pickle
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.errors import NothingFound
from storage.objects import probe
from storage.objects.memory import MemoryStore
from storage.objects.opening import open_store
from storage.objects.store import ObjectStore, Put
from tests.contract.store_backends import BACKENDS

SIZES = [0, 1, 65_536, 9 * 1024 * 1024]


SLOW = {"ceph"}
"""Backends that take half a minute to start and are no part of `make test`."""


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in BACKENDS
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    with BACKENDS[request.param](tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("size", SIZES)
def test_an_object_reads_back_as_it_was_written(store: ObjectStore, size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert store.put_new("runs/a/data/x.parquet", data) is Put.CREATED
    assert store.get("runs/a/data/x.parquet") == data


def test_a_second_put_says_exists_and_changes_nothing(store: ObjectStore) -> None:
    assert store.put_new("a/b", b"first") is Put.CREATED
    assert store.put_new("a/b", b"second") is Put.EXISTS
    assert store.put_new("a/b", b"first") is Put.EXISTS
    assert store.get("a/b") == b"first"


def test_an_empty_object_is_created_once_too(store: ObjectStore) -> None:
    assert [store.put_new("a", b""), store.put_new("a", b"")] == [Put.CREATED, Put.EXISTS]


@pytest.mark.parametrize("size", SIZES[1:])
def test_sixteen_racing_writers_have_one_winner_whose_bytes_stand(
    store: ObjectStore, size: int
) -> None:
    start = threading.Barrier(16)

    def write(writer: int) -> Put:
        start.wait()
        return store.put_new("race/one", bytes([writer]) * size)

    with ThreadPoolExecutor(16) as writers:
        outcomes = list(writers.map(write, range(16)))
    stands = store.get("race/one")
    assert stands == stands[:1] * size
    won = [writer for writer, outcome in enumerate(outcomes) if outcome is Put.CREATED]
    assert len(won) <= 1
    if Put.UNKNOWN not in outcomes:
        assert won == [stands[0]]


def test_a_reader_beside_a_writer_never_sees_a_part(store: ObjectStore) -> None:
    data = os.urandom(2 * 1024 * 1024)
    seen: set[bytes] = set()
    written = threading.Event()

    def read() -> None:
        while True:
            last = written.is_set()
            try:
                seen.add(store.get("big"))
            except NothingFound:
                if last:
                    raise
            if last:
                return

    with ThreadPoolExecutor(2) as readers:
        reading = [readers.submit(read) for _ in range(2)]
        store.put_new("big", data)
        written.set()
        for reader in reading:
            reader.result()
    assert seen == {data}


@pytest.mark.parametrize("key", ["nothing", "runs/none/spec.json", "a"])
def test_what_is_not_there_is_nothing_found(store: ObjectStore, key: str) -> None:
    store.put_new("a/b", b"x")
    with pytest.raises(NothingFound, match=key):
        store.get(key)


def test_a_listing_gives_every_key_under_its_prefix_and_no_other(store: ObjectStore) -> None:
    sizes = {"runs/a/1": 1, "runs/a/b/2": 2, "runs/ab/3": 3, "runs/b/4": 4, "other/5": 5}
    for key, size in sizes.items():
        store.put_new(key, b"x" * size)
    for prefix in ["", "runs/", "runs/a/", "runs/a", "runs/a/b/2", "nothing/", "runs/zz"]:
        expected = {key: size for key, size in sizes.items() if key.startswith(prefix)}
        assert dict(store.list(prefix)) == expected, prefix


def test_a_listing_that_begins_behind_a_key_gives_the_keys_that_sort_behind_it(
    store: ObjectStore,
) -> None:
    keys = [f"runs/a/commits/{number:06d}.json" for number in (0, 9, 10, 999, 1_000, 46_874)]
    for key in keys:
        store.put_new(key, b"x")
    listed = store.list("runs/a/commits/", "runs/a/commits/000010.json")
    assert sorted(entry.key for entry in listed) == keys[3:]
    assert list(store.list("runs/a/commits/", keys[-1])) == []


def test_the_objects_directly_below_a_prefix_come_without_what_lies_deeper(
    store: ObjectStore,
) -> None:
    for key in ("runs/a/spec.json", "runs/a/b/2", "runs/a/c.json", "runs/file"):
        store.put_new(key, b"xy")
    assert dict(store.files("runs/a/")) == {"runs/a/spec.json": 2, "runs/a/c.json": 2}
    assert list(store.files("nothing/")) == []


def test_the_names_below_a_prefix_come_once_without_what_lies_deeper(store: ObjectStore) -> None:
    for key in ("runs/a/1", "runs/a/b/2", "runs/c/3", "runs/file", "other/d/4"):
        store.put_new(key, b"x")
    assert sorted(store.folders("runs/")) == ["a", "c"]
    assert list(store.folders("nothing/")) == []
    store.delete("runs/c/3")
    assert list(store.folders("runs/")) == ["a"], "an emptied folder is no name"


def test_more_than_a_thousand_names_are_complete(store: ObjectStore) -> None:
    names = [f"run-{number:04d}" for number in range(1_100)]
    with ThreadPoolExecutor(16) as writers:
        list(writers.map(lambda name: store.put_new(f"runs/{name}/spec.json", b"{}"), names))
    assert sorted(store.folders("runs/")) == names


def test_an_object_has_the_time_at_which_it_was_stored(store: ObjectStore) -> None:
    store.put_new("a/b", b"x")
    stored = store.modified("a/b")
    assert (stored is None) == isinstance(store, MemoryStore)
    assert stored is None or abs(time.time() - stored) < 120, "of this or the server's clock"
    with pytest.raises(NothingFound):
        store.modified("a/c")


def test_a_listing_of_more_than_a_thousand_is_complete(store: ObjectStore) -> None:
    keys = [f"runs/a/commits/{number:06d}.json" for number in range(1_234)]
    with ThreadPoolExecutor(16) as writers:
        list(writers.map(lambda key: store.put_new(key, b"{}"), keys))
    listed = [entry.key for entry in store.list("runs/a/commits/")]
    assert sorted(listed) == keys


def test_a_deleted_object_is_gone_and_deleting_it_again_is_fine(store: ObjectStore) -> None:
    store.put_new("a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    assert list(store.list("")) == []
    with pytest.raises(NothingFound):
        store.get("a/b")


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../../b", ".", "a/./b", "a\\b", "a b", "a\0b", "ä"]
)
def test_a_key_that_could_leave_the_root_is_refused(store: ObjectStore, key: str) -> None:
    with pytest.raises(ValueError, match="not an object key"):
        store.put_new(key, b"x")
    with pytest.raises(ValueError, match="not an object key"):
        store.get(key)
    with pytest.raises(ValueError, match="not an object key"):
        store.delete(key)


def test_the_probe_accepts_the_store_and_leaves_nothing_behind(store: ObjectStore) -> None:
    probe.probe_store(store)
    assert list(store.list("")) == []


def test_the_store_opens_again_by_its_url_and_in_another_process(store: ObjectStore) -> None:
    if isinstance(store, MemoryStore):
        pytest.skip("ends with its process")
    store.put_new("a/b", b"x")
    assert open_store(store.url).get("a/b") == b"x"
    travelled: ObjectStore = pickle.loads(pickle.dumps(store))
    assert (travelled.get("a/b"), travelled.url) == (b"x", store.url)
