"""Marks: create-only, the latest of a person counts, whatever the store answers."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import pytest

from storage.audit import audit
from storage.errors import InputError, ObjectCorrupt, StoreUnavailable
from storage.objects.memory import MemoryStore
from storage.objects.patience import Patience
from storage.objects.store import Put
from storage.runs.commits import canonical_json
from storage.runs.marks import Mark, marks_of, put_mark, truth_of, wrong_paths
from storage.runs.run import Run
from tests.support.whole_run import finished as build_run

QUICK = Patience(tries=5, sleep=lambda _: None)


def mark(path_id: str = "train/0#0", person: str = "ada", **change: object) -> Mark:
    return replace(Mark(path_id, person, True, None, "", "2026-11-26T10:00:00+00:00"), **change)  # type: ignore[arg-type]


@pytest.fixture
def run() -> Run:
    return replace(build_run(MemoryStore()), patience=QUICK)


def test_the_latest_mark_of_a_person_counts(run: Run) -> None:
    put_mark(run, mark(right=True))
    put_mark(run, mark(right=False, first_error=1, at="1970-01-01"))
    put_mark(run, mark(person="bob"))
    said = {found.person: found for found in marks_of(run)}
    assert (said["ada"].right, said["ada"].first_error) == (False, 1)
    assert said["bob"].right


def test_no_mark_is_lost_or_replaced_by_writers_at_once(run: Run) -> None:
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda n: put_mark(run, mark(note=str(n))), range(40)))
    keys = [key for key, _ in run.store.list(f"runs/{run.name}/marks/")]
    assert len(keys) == 40
    assert len(marks_of(run)) == 1


class _Forgetful:
    """Stores, and gives no answer every other time."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def put_new(self, key: str, data: bytes) -> Put:
        self.calls += 1
        stored = self.store.put_new(key, data)
        if "marks" in key and self.calls % 2:
            raise StoreUnavailable("no answer")
        return Put.UNKNOWN if "marks" in key else stored


def test_a_reply_that_is_lost_makes_no_second_mark() -> None:
    run = replace(build_run(_Forgetful()), patience=QUICK)
    for note in ("one", "two", "three"):
        put_mark(run, mark(note=note))
    (found,) = marks_of(run)
    assert found.note == "three"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "is no JSON object"),
        (b'{"path_id": "a#0"}', "person: Field required"),
        (canonical_json(asdict(mark()) | {"first_error": "1"}), "first_error is '1'"),
    ],
)
def test_a_mark_that_was_damaged_is_named(run: Run, data: bytes, said: str) -> None:
    run.store.put_new(f"runs/{run.name}/marks/{'0' * 32}-000000.json", data)
    with pytest.raises(ObjectCorrupt, match=said):
        marks_of(run)


class _Other:
    """Says that it stored a mark, and holds another writer's."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def put_new(self, key: str, data: bytes) -> Put:
        """Stores a mark that nobody sent."""
        return self.store.put_new(key, canonical_json(json.loads(data) | {"token": "other"}))


def test_a_mark_is_read_back_before_it_counts_as_stored() -> None:
    whole = build_run(MemoryStore())
    with pytest.raises(StoreUnavailable, match="could not be stored"):
        put_mark(replace(whole, store=_Other(), patience=QUICK), mark())


def test_marks_are_no_part_of_what_an_audit_reads(run: Run) -> None:
    before = audit(run)
    put_mark(run, mark())
    after = audit(run)
    assert after == before
    assert not after.findings


def test_people_who_disagree_leave_no_truth_but_a_wrong_path(run: Run) -> None:
    marks = [
        mark("a#0"), mark("a#0", "bob", right=False, first_error=2),
        mark("b#0", right=False, first_error=2), mark("b#0", "bob", right=False, first_error=2),
        mark("c#0"),
    ]  # fmt: skip
    assert truth_of(marks) == {"b#0": 2, "c#0": None}
    assert wrong_paths(marks) == {"a#0", "b#0"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"person": " "}, "the name of a person"),
        ({"note": "x" * 4_001}, "shorten it"),
        ({"first_error": -1}, "leave it empty"),
    ],
)
def test_a_mark_that_can_not_be_is_refused(run: Run, change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        put_mark(run, mark(**change))
    assert marks_of(run) == []
