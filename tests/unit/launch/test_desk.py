"""What the page of a run says of marks while they are read, or when they can't be."""

from __future__ import annotations

import threading

import pytest

from launch.browse.desk import Desk
from storage.objects.memory import MemoryStore
from storage.runs.marks import Mark, marks_of, marks_prefix
from storage.runs.run import Run
from tests.support.whole_run import finished
from workflows.browsing import reviewing


def started(run: Run) -> Desk:
    desk = Desk(run, None, "ada")
    desk.start()
    for thread in threading.enumerate():
        if thread.name in ("marks", "index"):
            thread.join(30)
    return desk


def test_a_damaged_mark_is_named_on_the_page_that_shows_the_paths_all_the_same() -> None:
    run = finished(MemoryStore())
    key = f"{marks_prefix(run.name)}{'0' * 32}-000000.json"
    run.store.put_new(key, b"{")
    desk = started(run)
    trouble = desk.meta()["progress"]["trouble"]
    assert trouble.startswith(f"marks can't be read: {key} is no JSON")
    assert desk.page({}, "", 0)["total"] > 0


def test_a_mark_that_is_put_while_marks_are_read_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = started(finished(MemoryStore()))

    def read(run: Run) -> list[Mark]:
        marks = marks_of(run)
        desk.mark("train/0#0", {"right": True})
        return marks

    monkeypatch.setattr(reviewing, "marks_of", read)
    desk.reviews.read()
    assert [mark.path_id for mark in desk.reviews.of("train/0#0")] == ["train/0#0"]
    assert desk.page({"mark": ["right"]}, "", 0)["total"] == 1
