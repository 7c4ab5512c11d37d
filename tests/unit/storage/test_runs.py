"""A run is started once, continued from its store alone, and finished only when it is whole."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path as Folder

import pytest

from storage.errors import (
    ConfigurationError,
    InputError,
    NothingFound,
    ObjectCorrupt,
    Removed,
    RunStopped,
    SpecMismatch,
    StoreUnavailable,
)
from storage.objects.local import LocalStore
from storage.objects.memory import MemoryStore
from storage.objects.opening import open_store
from storage.objects.store import Entry, ObjectStore, Put
from storage.rows.kinds import PATHS, PROBLEMS
from storage.runs import layout
from storage.runs.commits import canonical_json
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, Spec, differences, input_digest
from tests.support.whole_run import QUICK, finished, problems, started, work_shard
from workflows.runs.run import finish

SPEC = Spec({"sample": {"cap": 64, "rounds": (1, 2)}}, "digest", ShardPlan(7, 3))


@pytest.mark.parametrize(
    ("items", "per_shard", "sizes"),
    [(7, 3, [3, 3, 1]), (6, 3, [3, 3]), (1, 100, [1]), (3, 1, [1, 1, 1])],
)
def test_a_plan_cuts_the_input_into_shards_of_its_order(
    items: int, per_shard: int, sizes: list[int]
) -> None:
    plan = ShardPlan(items, per_shard)
    given = problems(items)
    cut = dict(plan.cut(iter(given)))
    assert [len(cut[shard]) for shard in range(plan.shards)] == sizes
    assert [plan.size(shard) for shard in range(plan.shards)] == sizes
    assert [problem for shard in range(plan.shards) for problem in cut[shard]] == given


GROWN = [
    pytest.param([7], 3, [3, 3, 1], (), id="not grown"),
    pytest.param([7, 12], 3, [3, 3, 1, 3, 2], (7,), id="once"),
    pytest.param([7, 12, 20], 3, [3, 3, 1, 3, 2, 3, 3, 2], (7, 12), id="twice"),
    pytest.param([6, 8], 3, [3, 3, 2], (), id="whole shards: as if it had always been so many"),
    pytest.param([1, 2, 5], 3, [1, 1, 3], (1, 2), id="one by one"),
    pytest.param([7, 9, 5], 3, [3, 2], (), id="fewer again, within what was never cut short"),
    pytest.param([7, 20, 10], 3, [3, 3, 1, 3], (7,), id="fewer again, behind it"),
]


@pytest.mark.parametrize(("lengths", "per_shard", "sizes", "grown_from"), GROWN)
def test_a_grown_plan_begins_with_the_shards_that_were_there(
    lengths: list[int], per_shard: int, sizes: list[int], grown_from: tuple[int, ...]
) -> None:
    plan = ShardPlan(lengths[0], per_shard)
    for length in lengths[1:]:
        before, plan = plan, plan.grown(length)
        kept = [before.span(shard) for shard in range(before.shards) if length >= before.items]
        assert [plan.span(shard) for shard in range(len(kept))] == kept
    assert plan == ShardPlan(lengths[-1], per_shard, grown_from)
    assert [plan.size(shard) for shard in range(plan.shards)] == sizes
    given = problems(lengths[-1])
    cut = dict(plan.cut(iter(given)))
    assert [len(cut[shard]) for shard in range(plan.shards)] == sizes
    assert [problem for shard in range(plan.shards) for problem in cut[shard]] == given
    places = [number for shard in range(plan.shards) for number in plan.span(shard)]
    assert places == list(range(plan.items))
    assert all(number in plan.span(plan.shard_of(number)) for number in places)
    for beyond in (lambda: plan.span(plan.shards), lambda: plan.shard_of(plan.items)):
        with pytest.raises(ValueError, match="is not in the plan"):
            beyond()


def test_a_grown_plan_is_written_where_an_older_version_refuses_it_and_others_as_ever() -> None:
    assert json.loads(SPEC.to_json())["plan"] == {"items": 7, "items_per_shard": 3}
    grown = dataclasses.replace(SPEC, plan=SPEC.plan.grown(12))
    written = json.loads(grown.to_json())
    assert written["plan"] == {"items": 12, "items_per_shard": 3}
    assert written["grown_from"] == [7]  # a field that a spec did not have
    assert Spec.from_json("k", grown.to_json()) == grown
    assert [str(found) for found in differences(SPEC, grown)] == [
        "grown_from: stored nothing, asked for [7]",
        "plan.items: stored 7, asked for 12",
    ]
    for damaged in ([12], [9, 7], [0], "x", [7.5], {"a": 1}, 3):
        with pytest.raises((ConfigurationError, ObjectCorrupt)):
            Spec.from_json("k", canonical_json(written | {"grown_from": damaged}))
    often = {"plan": {"items": 2_000_000, "items_per_shard": 3}, "grown_from": [*range(1, 2_000)]}
    with pytest.raises(ObjectCorrupt, match="it grew 1,999 times"):
        Spec.from_json("k", canonical_json(written | often))


@pytest.mark.parametrize(("items", "per_shard"), [(0, 3), (3, 0), (-1, 1)])
def test_a_plan_without_work_is_refused(items: int, per_shard: int) -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        ShardPlan(items, per_shard)


def test_a_spec_reads_back_equal_and_keeps_its_fingerprint() -> None:
    back = Spec.from_json("k", SPEC.to_json())
    assert (back, back.fingerprint) == (SPEC, SPEC.fingerprint)
    assert len(SPEC.fingerprint) == 64


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, object()])
def test_a_configuration_that_is_not_plain_json_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match="plain JSON"):
        Spec({"x": value}, "digest", ShardPlan(1, 1))


def test_every_differing_field_is_named_and_no_other() -> None:
    asked = dataclasses.replace(
        SPEC,
        configuration={"sample": {"cap": 65, "rounds": [1, 2]}, "seed": None},
        plan=ShardPlan(7, 4),
        models={"policy": "m"},
        image_digest="sha256:1",
    )
    assert [str(found) for found in differences(SPEC, asked)] == [
        "configuration.sample.cap: stored 64, asked for 65",
        "configuration.seed: stored nothing, asked for null",
        'image_digest: stored null, asked for "sha256:1"',
        "models: stored {}, asked for nothing",
        'models.policy: stored nothing, asked for "m"',
        "plan.items_per_shard: stored 3, asked for 4",
    ]
    assert differences(SPEC, dataclasses.replace(SPEC)) == []


def test_the_input_digest_sees_order_and_every_field() -> None:
    one, two = problems(2)
    digests = {
        input_digest(given)
        for given in [
            [one, two],
            [two, one],
            [one],
            [one, dataclasses.replace(two, level="Level 1")],
            [one, dataclasses.replace(two, problem_id="x")],
        ]
    }
    assert len(digests) == 5
    assert input_digest(iter([one, two])) == input_digest([one, two])


@pytest.mark.parametrize(
    "name", ["", "a/b", "..", "-a", ".a", "a b", "a.", "ä", "a" * 101, "a\n", "a\0"]
)
def test_a_run_name_that_can_not_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="run name"):
        Run.start(MemoryStore(), name, SPEC)
    with pytest.raises(ConfigurationError, match="run name"):
        Run.open(MemoryStore(), name)


def test_starting_again_continues_and_another_spec_is_refused_with_its_fields() -> None:
    store = MemoryStore()
    first = Run.start(store, "a", SPEC)
    assert Run.start(store, "a", SPEC) == first == Run.open(store, "a")
    with pytest.raises(SpecMismatch, match="input_digest: stored") as caught:
        Run.start(store, "a", dataclasses.replace(SPEC, input_digest="other"))
    assert "another run name" in str(caught.value)


def test_nothing_is_deleted_on_the_word_of_a_damaged_tombstone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryStore()
    run = finished(store)
    before = dict(store.objects)
    get, looks = MemoryStore.get, 0

    def found_later(store: MemoryStore, key: str, most: int | None = None) -> bytes:
        nonlocal looks
        looks += key.endswith("removed.json")
        if key.endswith("removed.json") and looks > 1:
            return b"<html>Please sign in</html>"
        return get(store, key, most)

    monkeypatch.setattr(MemoryStore, "get", found_later)
    for work in (
        lambda: Run.start(store, "whole", run.spec, QUICK),
        lambda: run.publish(PATHS, 0, []),
        lambda: finish(run),
    ):
        looks = 0
        with pytest.raises(Removed, match="removed by somebody"):
            work()
        assert before.items() <= store.objects.items()


def test_a_run_that_is_not_there_is_nothing_found() -> None:
    with pytest.raises(NothingFound, match="no run 'a' in memory://"):
        Run.open(MemoryStore(), "a")


def test_a_spec_of_another_format_or_of_garbage_is_refused() -> None:
    store = MemoryStore()
    Run.start(store, "a", SPEC)
    key = layout.spec_key("a")
    whole = store.objects[key]
    store.objects[key] = whole.replace(b'"format":1', b'"format":9')
    with pytest.raises(ConfigurationError, match="format 9, this program knows 1"):
        Run.open(store, "a")
    for garbage in (b"", b"[]", b"{}", whole[:-5], whole.replace(b'"plan"', b'"plum"')):
        store.objects[key] = garbage
        with pytest.raises(ObjectCorrupt, match=key):
            Run.open(store, "a")


def test_a_run_resumes_from_its_store_alone() -> None:
    store = MemoryStore()
    started(store)
    run = Run.open(store, "whole")
    run.check_input()
    given = [row for shard in range(3) for row in run.read_rows(PROBLEMS, shard)]
    assert given == problems()


def test_problems_that_were_stored_in_part_are_completed_or_reported() -> None:
    store = MemoryStore()
    run = started(store)
    before = run.commit("problems", 0)
    store.delete(layout.commit_key("whole", "problems", 2))
    with pytest.raises(InputError, match="1 of 3 missing"):
        run.check_input()
    run.store_input(problems())
    assert run.commit("problems", 0) == before
    assert run.shards_of("problems") == {0, 1, 2}


def test_what_is_committed_is_found_by_listing_in_the_order_of_shards() -> None:
    store = MemoryStore()
    run = started(store, count=150, per_shard=1)
    assert list(run.committed("problems")) == list(range(150))
    assert list(run.receipts("problems"))[149].rows == 1
    assert run.totals("problems").rows == 150
    assert run.committed("export") == {}
    store.objects["runs/whole/problems/commits/notes.txt"] = b"a foreign object"
    assert len(run.shards_of("problems")) == 150


def test_a_stage_or_shard_outside_of_the_plan_is_refused() -> None:
    run = started(MemoryStore())
    with pytest.raises(ConfigurationError, match="no stage 'nonsense'"):
        run.shards_of("nonsense")
    with pytest.raises(ValueError, match="shard 3 is not in the plan of 3"):
        run.publish(PATHS, 3, [])


def test_bytes_that_differ_are_read_once_more_then_refused() -> None:
    run = finished(MemoryStore())
    commit = run.commit("sample", 1)

    class Flaky:
        def __init__(self, bad: int) -> None:
            self.bad = bad

        def get(self, key: str, most: int | None = None) -> bytes:
            data = run.store.get(key)
            if key == commit.data_key and self.bad > 0:
                self.bad -= 1
                return data[:-1]
            return data

    class Reader(Flaky):
        url = "memory://flaky"
        put_new = run.store.put_new
        list = run.store.list
        delete = run.store.delete

    once: ObjectStore = Reader(1)
    assert len(dataclasses.replace(run, store=once).read_rows(PATHS, 1)) == commit.rows
    twice: ObjectStore = Reader(2)
    with pytest.raises(ObjectCorrupt, match=commit.sha256):
        dataclasses.replace(run, store=twice).read_rows(PATHS, 1)


def test_rows_whose_object_is_gone_are_corrupt_and_uncommitted_rows_are_not_found() -> None:
    run = finished(MemoryStore())
    run.store.delete(run.commit("sample", 1).data_key)
    with pytest.raises(ObjectCorrupt, match="is gone: committed as sha256"):
        run.read_rows(PATHS, 1)
    run.store.delete(layout.commit_key("whole", "sample", 0))
    with pytest.raises(NothingFound):
        run.read_rows(PATHS, 0)


def test_success_is_written_once_everything_is_committed_and_not_before() -> None:
    run = started(MemoryStore())
    for shard in range(2):
        work_shard(run, shard)
    with pytest.raises(NothingFound, match="not finished: sample has 2 of 3 shards"):
        run.finish()
    assert run.success() is None
    work_shard(run, 2)
    success = run.finish()
    assert run.finish() == success == run.success()
    assert success.totals["sample"].drops == {"no_correct_path": 2}
    assert success.totals["sample"].counts == {"tokens": 12 * 28}
    assert [entry["rows"] for entry in success.commits["problems"]] == [3, 3, 1]


@pytest.mark.parametrize("stage", ["problems", "sample", "export"])
def test_a_listing_that_lacks_a_commit_or_shows_one_beyond_the_plan_ends_no_run(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(MemoryStore())
    for shard in range(3):
        work_shard(run, shard)
    last = layout.commit_key("whole", stage, 2)
    run.store.put_new(layout.commit_key("whole", stage, 99), run.store.get(last))
    listed = MemoryStore.list

    def short(store: MemoryStore, prefix: str, after: str = "") -> Iterator[Entry]:
        yield from (entry for entry in listed(store, prefix, after) if entry.key != last)

    monkeypatch.setattr(MemoryStore, "list", short)
    assert run.shards_of(stage) == {0, 1}
    run.check_input()
    assert {totals.shards for totals in run.finish().totals.values()} == {3}


def test_a_build_whose_commit_is_gone_at_its_end_is_stopped_and_continues() -> None:
    run = started(MemoryStore())
    for shard in range(3):
        work_shard(run, shard)
    run.store.delete(layout.commit_key("whole", "label", 2))
    with pytest.raises(RunStopped, match="not finished: label has 2 of 3 shards"):
        finish(run)


def test_a_success_that_names_other_commits_is_reported() -> None:
    store = MemoryStore()
    run = finished(store)
    key = layout.success_key("whole")
    store.objects[key] = store.objects[key].replace(b'"rows":3', b'"rows":4', 1)
    with pytest.raises(ObjectCorrupt, match="names other commits"):
        run.finish()
    store.objects[key] = b"{}"
    with pytest.raises(ObjectCorrupt, match="run: Field required"):
        run.success()


def test_a_store_that_never_answers_stops_the_start() -> None:
    class Down(MemoryStore):
        def put_new(self, key: str, data: bytes) -> Put:
            return Put.UNKNOWN

    with pytest.raises(StoreUnavailable, match=r"spec\.json could not be stored"):
        Run.start(Down(), "a", SPEC, QUICK)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "empty"),
        ("ftp://host/x", "ftp:// is not known"),
        ("file://host/x", "file:/// and an absolute folder"),
        ("gs://bucket", "gs:// is not known"),
    ],
)
def test_a_store_url_that_means_nothing_says_what_to_write(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        open_store(url)


def test_a_folder_and_its_url_open_the_same_store(
    tmp_path: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = open_store("a folder")
    assert named == open_store(named.url) == LocalStore.at(tmp_path / "a folder")
    assert "%20" in named.url
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigurationError, match="is a file: name a folder"):
        open_store("file")


def test_a_memory_store_is_the_same_by_its_name() -> None:
    assert open_store("memory://one") is open_store("memory://one")
    assert open_store("memory://one") is not open_store("memory://two")
