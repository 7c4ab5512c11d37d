"""What drivers lost: noted where something was, and read from dead drivers' beats."""

from __future__ import annotations

import pytest

from storage.objects.memory import MemoryStore
from storage.runs.presence import Presence, drivers_of, work_on
from storage.runs.run import Run
from storage.runs.work import Work
from tests.support.whole_run import started
from workflows.runs.status import run_status
from workflows.runs.tally import Tally
from workflows.schedule.events import Happened
from workflows.schedule.queues import Task


@pytest.fixture
def run() -> Run:
    return started(MemoryStore(), "r")


def told(*events: tuple[str, int]) -> Tally:
    """A tally that has heard of these events of shards of stage `sample`."""
    tally = Tally()
    for number, (what, shard) in enumerate(events):
        tally.happened(Happened(what, "policy", Task("sample", shard, number)))
    return tally


UNTROUBLED = (("started", 0), ("started", 1), ("committed", 0), ("committed", 1))


def left_by(run: Run, tally: Tally, dies: bool = False) -> None:
    """A driver looks once at the end of its work, and leaves, or is killed."""
    presence = Presence(run, lambda: tally.work)
    presence.look()
    if not dies:
        presence.leave()


def all_work(run: Run) -> Work:
    return work_on(run.store, "r", drivers_of(run.store, "r"))


def test_a_driver_that_lost_nothing_leaves_nothing(run: Run) -> None:
    before = list(run.store.list("runs/r/"))
    left_by(run, told(*UNTROUBLED))
    assert list(run.store.list("runs/r/")) == before
    assert run_status(run).work_said is None


@pytest.mark.parametrize(
    ("events", "lost", "said"),
    [
        ((("failed", 0), ("started", 0), ("committed", 0)), 1, "1 ended in errors, 0 workers"),
        ((("lost", 0), ("started", 0), ("committed", 0)), 1, "0 ended in errors, 1 workers"),
        ((("started", 0), ("committed", 0)), 1, "0 ended in errors, 0 workers"),
        ((), 1, "0 ended in errors, 0 workers"),
    ],
    ids=["failed", "worker lost", "twin", "driver ended in between"],
)
def test_what_was_begun_and_not_committed_is_said(
    run: Run, events: tuple[tuple[str, int], ...], lost: int, said: str
) -> None:
    left_by(run, told(("started", 0), *events))
    assert all_work(run).lost == {"sample": lost}
    told_ = run_status(run).work_said
    assert told_ is not None
    assert said in told_


@pytest.mark.parametrize("dies", [False, True])
def test_several_drivers_add_up_and_each_counts_once(run: Run, dies: bool) -> None:
    left_by(run, told(*UNTROUBLED, ("started", 2), ("lost", 2)), dies)
    left_by(run, told(("started", 2), ("committed", 2), ("started", 3), ("failed", 3)))
    whole = all_work(run)
    assert whole.lost_workers == 1
    assert whole.failed == 1
    assert sum(whole.begun.values()) == 5
    assert sum(whole.lost.values()) == (1 if dies else 2), "what a silent driver began may live"


def test_a_living_drivers_shards_under_way_are_not_called_lost(run: Run) -> None:
    tally = told(*UNTROUBLED, ("started", 2))
    Presence(run, lambda: tally.work).look()
    assert all_work(run).lost == {}
    assert run_status(run).work_said is None


@pytest.mark.parametrize("body", [b"", b"[]", b'{"begun": 3}', b'{"failed": "x"}'])
def test_a_damaged_note_is_no_note(run: Run, body: bytes) -> None:
    run.store.put_new(f"runs/r/work/{'0' * 32}.json", body)
    assert all_work(run) == Work()
