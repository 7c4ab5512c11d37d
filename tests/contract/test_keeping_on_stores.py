"""Runs are listed, copied and removed alike on every store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.audit import audit
from storage.datasets.dataset import assemble
from storage.errors import NothingFound, Removed, SpecMismatch
from storage.objects.memory import MemoryStore
from storage.objects.store import ObjectStore, Put
from storage.rows.kinds import PATHS
from storage.runs.listing import listed_runs
from storage.runs.marks import Mark, marks_of, put_mark
from storage.runs.presence import Presence, ask_to_stop
from storage.runs.removal import Tombstone, free, remove
from storage.runs.run import Run
from storage.runs.stops import note_stop
from tests.contract.store_backends import BACKENDS
from tests.support.whole_run import finished, path, started, work_shard
from workflows.runs.copying import copy_run
from workflows.runs.run import finish

STONE = Tombstone("ann@here", "2026-01-01")
PREFIX = "runs/whole/"


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name == "ceph" else []) for name in BACKENDS
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    with BACKENDS[request.param](tmp_path) as opened:
        yield opened


def keys(store: ObjectStore, prefix: str = "") -> set[str]:
    return {entry.key for entry in store.list(prefix)}


def test_the_list_says_what_each_run_is(store: ObjectStore) -> None:
    finished(store, "done")
    work_shard(started(store, "begun"), 0)
    note_stop(started(store, "halted"), "no space")
    Presence(started(store, "busy")).look()
    store.put_new("runs/half/sample/data/x.parquet", b"x")
    store.put_new("runs/broken/spec.json", b"{")
    started(store, "gone")
    remove(store, "runs/gone/", STONE)
    found = {one.name: one for one in listed_runs(store)}
    assert {name: one.state for name, one in found.items()} == {
        "begun": "unfinished", "broken": "unreadable", "busy": "at work", "done": "finished",
        "gone": "removed", "half": "no run", "halted": "stopped",
    }  # fmt: skip
    assert (found["done"].done, found["done"].shards, found["done"].examples) == (3, 3, 11)
    assert (found["begun"].done, found["begun"].examples) == (1, None)
    assert found["halted"].said == "no space"
    sizes = {key: size for key, size in store.list("runs/done/")}
    assert (found["done"].objects, found["done"].bytes) == (len(sizes), sum(sizes.values()))


def test_a_name_that_is_not_there_is_answered_with_the_nearest(store: ObjectStore) -> None:
    for name in ("math-7b", "math-72b", "code", "maths"):
        started(store, name)
    remove(store, "runs/maths/", STONE)
    with pytest.raises(
        NothingFound, match=r"no run 'math' in .*: there are math-7b, math-72b, code"
    ):
        Run.open(store, "math")


def test_nothing_but_the_tombstone_stays_and_the_name_is_refused_until_it_is_freed(
    store: ObjectStore,
) -> None:
    assemble(finished(store))
    before = len(keys(store, PREFIX))
    assert remove(store, PREFIX, STONE) == before
    assert keys(store) == {f"{PREFIX}removed.json"}
    assert remove(store, PREFIX, Tombstone("bob", "")) == 0
    for again in (lambda: Run.open(store, "whole"), lambda: started(store)):
        with pytest.raises(Removed, match=r"run 'whole' was removed by ann@here on 2026-01-01"):
            again()
    assert keys(store) == {f"{PREFIX}removed.json"}, "a refused start left something"
    free(store, PREFIX)
    assert audit(finished(store)).findings == ()


def writes(run: Run) -> dict[str, Callable[[], object]]:
    """What a writer that is alive may do to a run."""
    mark = Mark("train/0#0", "ann", True, None, "", "")
    return {
        "a shard": lambda: run.publish(PATHS, 1, [path("train/3", 0)]),
        "the input": lambda: started(run.store),
        "a mark": lambda: put_mark(run, mark),
        "the end": lambda: finish(run),
        "a look": lambda: Presence(run).look(),
    }


@pytest.mark.parametrize("what", [*writes(finished(MemoryStore()))])
def test_a_writer_that_finds_the_tombstone_leaves_nothing(store: ObjectStore, what: str) -> None:
    run = finished(store)
    remove(store, PREFIX, STONE)
    with pytest.raises(Removed):
        writes(run)[what]()
    assert keys(store) == {f"{PREFIX}removed.json"}


class RemovedMeanwhile:
    """A store from which the run is removed right after a writer's first look for a tombstone."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._removed = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put_new(self, key: str, data: bytes) -> Put:
        if not self._removed:
            self._removed = True
            remove(self._store, PREFIX, STONE)
        return self._store.put_new(key, data)


@pytest.mark.parametrize("what", ["a shard", "a mark", "the input"])
def test_what_was_written_beside_a_removal_is_taken_back(store: ObjectStore, what: str) -> None:
    run = started(store)
    beside: ObjectStore = RemovedMeanwhile(store)  # type: ignore[assignment]
    with pytest.raises(Removed):
        writes(Run(beside, run.name, run.spec, run.patience))[what]()
    assert keys(store) == {f"{PREFIX}removed.json"}


def test_a_copy_is_the_same_run_and_a_repeated_one_sends_nothing(store: ObjectStore) -> None:
    source = finished(MemoryStore())
    assemble(source)
    put_mark(source, Mark("train/0#0", "ann", True, None, "", ""))
    seen: list[tuple[int, int]] = []
    copied = copy_run(source, store, "whole", lambda done, total: seen.append((done, total)))
    assert copied.fetched == copied.objects == len(seen)
    assert seen[-1][0] == copied.bytes <= seen[-1][1]
    assert (audit(copied.run).findings, audit(copied.run).finished) == ((), True)
    assert marks_of(copied.run) == marks_of(source)
    there = {key: store.get(key) for key in keys(store)}
    assert there == {key: source.store.get(key) for key in keys(source.store)}
    assert copy_run(source, store, "whole").fetched == 0
    back = copy_run(Run.open(store, "whole"), MemoryStore("back"), "other")
    assert (audit(back.run).findings, back.run.success() is not None) == ((), True)


def test_an_unfinished_copy_is_continued_and_another_run_is_left_alone(store: ObjectStore) -> None:
    source = started(MemoryStore())
    work_shard(source, 0)
    copied = copy_run(source, store, "whole").run
    assert (audit(copied).finished, copied.shards_of("export")) == (False, {0})
    work_shard(source, 1)
    assert copy_run(source, store, "whole").fetched == 6
    work_shard(copied, 2)
    work_shard(source, 2)
    finish(source)
    assert copy_run(source, store, "whole").run.success() is not None
    with pytest.raises(SpecMismatch, match="`--as` another name"):
        copy_run(finished(MemoryStore(), count=5), store, "whole")
    assert audit(copied).findings == ()


def test_a_copy_that_was_cut_off_is_no_run_until_its_data_is_there(store: ObjectStore) -> None:
    source = finished(MemoryStore(), count=12, per_shard=1)

    def cut(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_run(source, store, "whole", cut)
    assert Run.find(store, "whole") is None
    (listed,) = listed_runs(store)
    assert listed.state == "no run"
    copied = copy_run(source, store, "whole")
    assert 0 < copied.fetched < copied.objects
    assert audit(copied.run).findings == ()


def test_a_request_reaches_the_driver_that_was_asked_and_no_later_one(store: ObjectStore) -> None:
    run = started(store)
    first, second = Presence(run), Presence(run)
    assert first.look().asked_by is None
    ask_to_stop(run, first.token, "ann")
    assert first.look().asked_by == "ann"
    assert second.look().asked_by is None
    first.leave()
    second.leave()
    assert not keys(store, f"{PREFIX}drivers/")


def test_of_two_drivers_each_learns_that_the_other_lives_and_neither_of_a_dead_one(
    store: ObjectStore,
) -> None:
    run = started(store)
    Presence(run).look()  # its process was killed
    first = Presence(run)
    looks = [first.look() for _ in range(8)]
    assert not any(look.others for look in looks)
    second = Presence(run)
    second.look()
    assert len(first.look().others) == 1
    told = []
    for _ in range(8):
        first.look()
        told += second.look().others
    assert len(told) == 1, "only of the one whose beat has grown"
    assert not first.look().others, "once"
