"""An example marked in the browser: in the store, in `compare`, and out of a download."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest

from launch.cli.main import run_command
from storage.runs.marks import marks_of
from storage.runs.run import Run
from tests.support.page import PERSON, served
from workflows.looking.run import OpenRun


@pytest.fixture(scope="module")
def site(browser: Any, finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served([finished], tmp_path_factory.mktemp("index")) as (address, desks):
        desks[finished.name].index.fill()
        yield address


def kept(run: Run, number: int) -> str:
    exported: str = OpenRun(run).scan("export").collect()["path_id"][number]
    return exported


def opened(page: Any, site: str, path_id: str) -> None:
    page.goto(f"{site}#/r/path/{quote(path_id, safe='')}")
    page.wait_for_function(
        "id => document.querySelector('.whole h1')?.innerText === id", arg=path_id
    )
    page.wait_for_selector(".review")


def ids(folder: Path) -> set[str]:
    return set(pl.read_parquet(folder / "data" / "*.parquet")["path_id"])


def test_a_wrong_example_is_a_truth_and_left_out_of_a_reviewed_download(
    page: Any, site: str, finished: Run, tmp_path: Path, capsys: Any
) -> None:
    wrong, right = kept(finished, 0), kept(finished, 1)
    labels = dict(OpenRun(finished).scan("label").collect().select("path_id", "first_error").rows())
    step = 1 if labels[wrong] != 1 else 0
    opened(page, site, wrong)
    page.keyboard.press("w")
    page.select_option("select[name=first_error]", str(step))
    page.fill("textarea[name=note]", "a slip in step 2")
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector(".marks .mark-wrong")
    opened(page, site, right)
    page.keyboard.press("r")
    page.wait_for_selector(".marks .mark-right")

    said = {mark.path_id: mark for mark in marks_of(finished)}
    assert (said[wrong].person, said[wrong].right, said[wrong].first_error) == (PERSON, False, step)
    assert said[wrong].note == "a slip in step 2"
    assert said[right].right

    page.goto(f"{site}#/r/paths?mark=wrong")
    page.wait_for_selector("table.paths .mark-wrong")
    assert page.locator("td.what a").all_inner_texts() == [wrong]

    store = finished.store.url
    assert run_command(["compare", "r", "--store", store, "--truth", "marks"]) == 0
    table = capsys.readouterr().out
    line = next(line for line in table.splitlines() if "paths with a truth" in line)
    assert "2" in line.split()
    assert run_command(["compare", "r", "--store", store, "--truth", "marks", "--json"]) == 0
    (compared,) = json.loads(capsys.readouterr().out)
    assert compared["first_error_true"] == 0.5, "the labels are right of one, wrong of the other"
    assert compared["kept_first_error_true"] == 0.5
    whole, reviewed = tmp_path / "whole", tmp_path / "reviewed"
    assert run_command(["download", "r", str(whole), "--store", store]) == 0
    assert run_command(["download", "r", str(reviewed), "--store", store, "--reviewed"]) == 0
    assert ids(whole) - ids(reviewed) == {wrong}
    assert right in ids(reviewed)
    assert "Without 1 paths that people marked wrong" in (reviewed / "README.md").read_text()


def test_the_latest_mark_of_a_person_counts(page: Any, site: str, finished: Run) -> None:
    path_id = kept(finished, 2)
    opened(page, site, path_id)
    for _ in range(2):
        page.keyboard.press("w")
        page.get_by_role("button", name="Save").click()
        page.wait_for_selector(".marks .mark-wrong")
        page.keyboard.press("r")
        page.wait_for_selector(".marks .mark-right")
    (mark,) = [mark for mark in marks_of(finished) if mark.path_id == path_id]
    assert mark.right
    assert page.locator(".marks li").count() == 1


def test_keys_of_a_review_are_no_letters_of_a_note(page: Any, site: str, finished: Run) -> None:
    path_id = kept(finished, 3)
    opened(page, site, path_id)
    page.keyboard.press("w")
    page.locator("textarea").focus()
    page.keyboard.type("rr jk g")
    assert page.locator("textarea").input_value() == "rr jk g"
    assert page.locator(".whole h1").inner_text() == path_id
    assert path_id not in {mark.path_id for mark in marks_of(finished)}
