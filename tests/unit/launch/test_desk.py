"""What the page of a run says of marks while they are read, or when they can't be."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from launch.browse import desk as desk_module
from launch.browse.desk import Desk
from launch.browse.server import to_json
from storage.objects.memory import MemoryStore
from storage.runs.marks import Mark, marks_of, marks_prefix
from storage.runs.run import Run
from tests.support.whole_run import finished
from tests.support.whole_run import started as begun
from workflows.browsing import reviewing
from workflows.browsing.glance import glance


def started(run: Run, folder: Path | None = None) -> Desk:
    desk = Desk(run, folder, "ada")
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
    assert desk.listing.page({}, "", 0)["total"] > 0


def test_a_mark_that_is_put_while_marks_are_read_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = started(finished(MemoryStore()))

    def read(run: Run) -> list[Mark]:
        marks = marks_of(run)
        desk.mark("train/0#0", {"right": True})
        return marks

    monkeypatch.setattr(reviewing, "marks_of", read)
    desk.reviews.read()
    assert [mark.path_id for mark in desk.reviews.of("train/0#0")] == ["train/0#0"]
    assert desk.listing.page({"mark": ["right"]}, "", 0)["total"] == 1


def test_the_figures_of_a_whole_run_are_made_once_and_those_of_a_growing_run_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def counted(run: Run, frame: pl.DataFrame, figures: pl.DataFrame) -> dict[str, Any]:
        made.append(frame.height)
        return glance(run, frame, figures)

    monkeypatch.setattr(desk_module, "glance", counted)
    growing = begun(MemoryStore())
    for _ in range(2):
        of_part = Desk(growing, tmp_path, "ada")
        of_part.index.fill()
        assert not of_part.glance()["whole"]
    assert len(made) == 2
    run = finished(MemoryStore())
    unread = Desk(run, tmp_path, "ada")
    assert not unread.glance()["whole"], "nothing of it is read yet"
    first = started(run, tmp_path).glance()
    made.clear()
    assert first["whole"]
    assert to_json(Desk(run, tmp_path, "ada").glance()) == to_json(first)
    assert made == []
