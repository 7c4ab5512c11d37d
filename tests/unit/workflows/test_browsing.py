"""The index, lists and figures of a run, against the rows and commits they are made of."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from storage.errors import ConfigurationError, NothingFound
from storage.objects.local import LocalStore
from storage.objects.memory import MemoryStore
from storage.rows.kinds import EXAMPLES
from storage.runs.plans import Figure, Plan, Rate
from storage.runs.run import Run
from tests.support.whole_run import finished, started, work_shard
from workflows.browsing import index as indexing
from workflows.browsing.filters import FIELDS, OF_TWO, parse
from workflows.browsing.glance import glance
from workflows.browsing.index import Index
from workflows.browsing.listing import Listing, first_rows
from workflows.browsing.path_page import interval, path_page, path_pages
from workflows.browsing.planned import planned
from workflows.browsing.reviewing import Reviews
from workflows.browsing.rows import SCHEMA
from workflows.looking.fates import fates
from workflows.looking.run import OpenRun
from workflows.runs.status import against_plan, run_status


@pytest.fixture
def run() -> Run:
    return finished(MemoryStore())


def filled(run: Run, folder: Path | None = None) -> Index:
    index = Index(run, folder)
    index.fill()
    return index


def whole_search(listing: Listing, text: str) -> dict[str, Any]:
    found = listing.found({}, text)
    for thread in threading.enumerate():
        if thread.name == "search":
            thread.join(30)
    assert found.done
    return listing.page({}, text)


def test_a_path_ended_where_why_says_it_did(run: Run) -> None:
    opened = OpenRun(run)
    rows = filled(run).frame()
    assert rows.height == run.totals("sample").rows
    for row in rows.iter_rows(named=True):
        why = opened.why(row["path_id"])
        state = "kept" if why.finished else "dropped"
        assert (row["stage"], row["reason"], row["state"]) == (why.stage, why.reason, state)


def test_all_fates_of_a_shard_are_those_of_each_path(run: Run) -> None:
    opened = OpenRun(run)
    for shard in range(run.spec.plan.shards):
        for why in fates(run, shard):
            assert why == opened.why(why.path_id, shard)


def test_pages_of_a_shard_are_those_of_each_path(run: Run) -> None:
    opened = OpenRun(run)
    pages = list(path_pages(run, 0))
    for page in pages:
        assert page == path_page(opened, page["path_id"], 0)
    some = [page["path_id"] for page in pages[1::3]]
    assert list(path_pages(run, 0, some)) == pages[1::3]


def test_the_index_of_an_unfinished_run_grows_with_it(tmp_path: Path) -> None:
    run = started(LocalStore(tmp_path / "store"))
    index = filled(run, tmp_path / "cache")
    assert index.frame().height == 0
    assert index.frame().schema == SCHEMA
    work_shard(run, 0)
    index.fill()
    some = index.frame().height
    assert some > 0
    assert index.progress().complete
    assert not index.progress().finished
    for shard in range(1, run.spec.plan.shards):
        work_shard(run, shard)
    run.finish()
    index.fill()
    assert index.frame().height > some
    assert index.progress().finished
    assert index.frame().equals(filled(run).frame())


def test_a_path_of_a_shard_under_way_is_open() -> None:
    run = started(MemoryStore())
    whole = finished(MemoryStore(), "other")
    from storage.rows.kinds import PATHS

    run.publish(PATHS, 0, whole.read_rows(PATHS, 0))
    rows = filled(run).frame()
    assert set(rows.filter(pl.col("reason").is_null())["state"]) == {"open"}
    assert set(rows.filter(pl.col("reason").is_null())["stage"]) == {"sample"}


def test_a_kept_index_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished(LocalStore(tmp_path / "store"))
    first = filled(run, tmp_path / "cache").frame()

    def never(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(indexing, "read_part", never)
    assert filled(run, tmp_path / "cache").frame().equals(first)


def test_a_run_made_anew_under_its_name_is_read_anew(tmp_path: Path) -> None:
    before = filled(finished(LocalStore(tmp_path / "a"), count=7), tmp_path / "cache")
    for file in sorted((tmp_path / "a").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    after = filled(finished(LocalStore(tmp_path / "a"), count=8), tmp_path / "cache")
    assert after.frame().height != before.frame().height


@pytest.mark.parametrize("damage", [b"", b"ARROW1 and nothing"])
def test_a_damaged_kept_index_is_read_anew(tmp_path: Path, damage: bytes) -> None:
    run = finished(LocalStore(tmp_path / "store"))
    first = filled(run, tmp_path / "cache").frame().clone()
    rows = first.to_dicts()
    del first
    for file in (tmp_path / "cache").rglob("*.paths.arrow"):
        file.unlink()
        file.write_bytes(damage)
    assert filled(run, tmp_path / "cache").frame().to_dicts() == rows


def test_a_kept_block_of_other_columns_is_read_anew(tmp_path: Path) -> None:
    run = finished(LocalStore(tmp_path / "store"))
    rows = filled(run, tmp_path / "cache").frame().to_dicts()
    for file in (tmp_path / "cache").rglob("*.paths.arrow"):
        old = pl.read_ipc(file).rename({"judge_first_error": "judge"})
        file.unlink()
        old.write_ipc(file)
    assert filled(run, tmp_path / "cache").frame().to_dicts() == rows


def test_a_folder_that_takes_nothing_leaves_the_index_in_memory(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert filled(finished(MemoryStore()), tmp_path / "cache").frame().height > 0


def test_blocks_cover_every_shard_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "BLOCK_PATHS", 1)
    monkeypatch.setattr(indexing, "FIRST_BLOCK", 2)
    run = finished(MemoryStore(), count=7, per_shard=1)
    index = filled(run)
    assert index.progress().of_blocks == 6
    assert sorted(set(index.frame()["shard"])) == list(range(7))
    assert index.frame().equals(pl.concat(list(Index(run).parts())))


def test_a_run_without_paths_or_input_says_so() -> None:
    from storage.runs.specs import ShardPlan, Spec

    spec = Spec({}, "x", ShardPlan(1, 1), stages=("responses", "score"), schemas={})
    with pytest.raises(ConfigurationError, match="no paths, only responses, score"):
        Index(Run.start(MemoryStore(), "scored", spec))
    with pytest.raises(NothingFound, match="no problems yet"):
        Index(Run.start(MemoryStore(), "begun", Spec({}, "x", ShardPlan(1, 1))), Path("cache"))


def test_figures_are_those_of_the_commits(run: Run) -> None:
    index = filled(run)
    found = glance(run, index.frame(), index.figures())
    for of in found["stages"]:
        totals = run.totals(of["stage"])
        assert (of["rows"], of["shards"]) == (totals.rows, totals.shards)
        assert dict(of["drops"]) == totals.drops
        assert of["tokens"] == totals.counts.get("tokens", 0)
    ended = Counter(why.reason for shard in range(3) for why in fates(run, shard))
    funnel = {reason: n for of in found["funnel"] for reason, n in of["reasons"]}
    assert funnel == {reason: n for reason, n in ended.items() if reason}
    assert dict(found["states"])["kept"] == run.totals(EXAMPLES.stage).rows


def test_a_plan_stands_beside_what_came_as_status_says_it(run: Run) -> None:
    index = filled(run)
    stages = glance(run, index.frame(), index.figures())["stages"]
    figures = tuple(
        Figure(role, name, 0.0, 1e9)
        for role, name in (("policy", "paths"), ("completer", "gpu_hours"), ("", "bytes"))
    )
    plan = Plan(run.name, 3, "", 1, figures, {"policy": Rate(1.0), "completer": Rate(2.0)})
    told = run_status(run)
    assert planned(run, stages, plan) == against_plan(run, plan, told.stages, told.finished)
    assert [of.name for of in planned(run, stages, plan)] == ["paths", "gpu_hours", "bytes"]


def test_neighbours_of_a_list_lead_through_all_of_it(run: Run) -> None:
    listing = Listing(filled(run))
    asked = {"state": ["kept"]}
    ids = [row["path_id"] for row in listing.page(asked)["rows"]]
    walked, here = [], ids[0]
    while here is not None:
        place = listing.place(here, asked)
        assert place is not None
        walked.append(here)
        assert place["number"] == len(walked)
        here = place["after"]
    assert walked == ids
    other = listing.page({"state": ["dropped"]})["rows"][-1]["path_id"]
    place = listing.place(other, asked)
    assert place is not None
    assert place["number"] is None
    assert listing.place("nobody#1", asked) is None


def test_numbers_beside_choices_are_those_of_the_list_without_that_choice(run: Run) -> None:
    listing = Listing(filled(run))
    facets = listing.facets({"state": ["kept"]})
    assert dict(facets["state"]) == dict(listing.facets({})["state"])
    assert sum(n for _, n in facets["reason"]) == listing.page({"state": ["kept"]})["total"]
    for of in FIELDS:
        if of.kind == "choice" and of.name != OF_TWO:
            for value, n in facets[of.name]:
                assert listing.page({"state": ["kept"], of.name: [value]})["total"] == n or (
                    of.name == "state"
                )


def test_a_search_finds_problems_solutions_and_rationales(run: Run) -> None:
    listing = Listing(filled(run))
    assert whole_search(listing, "what is 3 + 1?")["total"] == 4
    assert whole_search(listing, "STEP 1: one.")["total"] == listing.index.frame().height
    written = OpenRun(run).scan("rationalize").collect()["path_id"].n_unique()
    assert whole_search(listing, "tex")["total"] == written
    assert whole_search(listing, ".*")["total"] == 0


def test_a_list_by_marks_has_every_mark_and_a_search_goes_on_after_one(run: Run) -> None:
    reviews = Reviews(run, "ada")
    listing = Listing(filled(run), reviews.frame)
    search = listing.found({}, "step 1")
    for number, path_id in enumerate(listing.frame()["path_id"], start=1):
        reviews.put(path_id, 2, {"right": True})
        assert listing.page({"mark": ["right"]})["total"] == number
    assert listing.found({}, "step 1") is search


def test_an_index_that_grew_ends_the_searches_of_what_it_was() -> None:
    run = started(MemoryStore())
    work_shard(run, 0)
    listing = Listing(filled(run))
    before = listing.found({}, "step 1")
    work_shard(run, 1)
    listing.index.fill()
    assert listing.found({}, "step 1").of_shards == 2
    assert before.stopped.is_set()


def test_two_who_ask_at_once_begin_one_search(run: Run) -> None:
    listing, both = Listing(filled(run)), threading.Barrier(2)

    def ask(_: int) -> object:
        both.wait(30)
        return listing.found({}, "step 1")

    with ThreadPoolExecutor(2) as people:
        first, second = people.map(ask, range(2))
    assert first is second


def test_the_first_rows_of_a_list_are_its_first_page(run: Run) -> None:
    index = filled(run)
    page = Listing(index).page({"state": ["dropped"]}, rows=5)["rows"]
    assert list(first_rows(Index(run), None, {"state": ["dropped"]}, "", 5)) == page


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"colour": ["red"]}, "no filter 'colour': filter by code, correct"),
        ({"steps": ["many"]}, "write a number or a range, 4, 4-8 or 4-"),
        ({"steps": [""]}, "write a number or a range"),
        ({"steps": ["-"]}, "write a number or a range"),
        ({"first_error": ["0"]}, "name a step, `none`"),
        ({"correct": ["true"]}, "yes or no"),
    ],
)
def test_a_filter_that_is_none_is_refused(asked: dict[str, list[str]], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        parse(asked)


@pytest.mark.parametrize(
    ("c", "n", "low", "high"),
    # Newcombe 1998, table I: method 3 (score), 81/263, 15/148, 0/20, 1/29
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(c: int, n: int, low: float, high: float) -> None:
    assert interval(c, n) == pytest.approx((low, high), abs=5e-5)
