"""The page in a real browser: what it shows of a run, served and as static files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.runs.run import Run
from tests.support.page import copied, served
from workflows.looking.fates import fates
from workflows.looking.run import OpenRun
from workflows.runs.status import run_status


@pytest.fixture(scope="module", params=["served", "copied"])
def site(
    request: pytest.FixtureRequest,
    browser: Any,
    finished: Run,
    stricter: Run,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    if request.param == "served":
        with served([finished, stricter], folder) as (address, desks):
            for desk in desks.values():
                desk.index.fill()
            yield address
    else:
        with copied([finished, stricter], folder) as address:
            yield address


def fate_of(run: Run) -> Counter[str]:
    shards = range(run.spec.plan.shards)
    return Counter(why.reason or "kept" for shard in shards for why in fates(run, shard))


def total(page: Any) -> int:
    return int(page.locator(".total b").inner_text().replace(",", ""))


def wait_total(page: Any, wanted: int) -> None:
    page.wait_for_function(
        "wanted => document.querySelector('.total b')?.innerText === wanted", arg=f"{wanted:,}"
    )


def listed(page: Any, site: str, query: str = "") -> None:
    page.goto(f"{site}#/r/paths?{query}")
    page.wait_for_selector("table.paths tbody tr")


def test_the_first_view_says_how_many_were_kept(page: Any, site: str, finished: Run) -> None:
    fates = fate_of(finished)
    page.goto(f"{site}#/r")
    lead = page.locator("[data-run=r] .lead").inner_text()
    assert lead.startswith(f"{fates['kept']:,} kept of {fates.total():,} solutions of 14 problems")


def test_the_funnel_has_every_reason_with_its_number(page: Any, site: str, finished: Run) -> None:
    page.goto(f"{site}#/r")
    page.wait_for_selector("[data-run=r] .lead")
    shown = page.locator("[data-run=r] .reasons a").all_inner_texts()
    said = {text.rpartition(" ")[0]: int(text.rpartition(" ")[2]) for text in shown}
    expected = {reason.replace("_", " "): n for reason, n in fate_of(finished).items()}
    assert said == {reason: n for reason, n in expected.items() if reason != "kept"}


def test_a_reason_of_the_funnel_leads_to_its_paths(page: Any, site: str, finished: Run) -> None:
    page.goto(f"{site}#/r")
    page.locator("[data-run=r] .reasons a", has_text="non monotone").click()
    wait_total(page, fate_of(finished)["non_monotone"])


def test_every_figure_of_the_first_view_is_there(page: Any, site: str) -> None:
    page.goto(f"{site}#/r")
    page.wait_for_selector("[data-run=r] .lead")
    headings = page.locator("[data-run=r] h2").all_inner_texts()
    assert headings == [
        "From solutions to examples", "Pass@1 by level", "Pass@1 by subject", "MC of states",
        "Rollouts of a state", "Labels: ratio", "Judge against labels", "Code and votes", "Stages",
        "Planned and actual",
    ]  # fmt: skip


def test_a_plan_stands_beside_what_the_run_came_to(page: Any, site: str, finished: Run) -> None:
    page.goto(f"{site}#/r")
    rows = page.locator("[data-run=r] [aria-label='planned and actual'] tbody tr")
    rows.first.wait_for()
    said = rows.first.locator("td, th").all_inner_texts()
    paths = f"{finished.totals('sample').rows:,}"
    assert (said[:2], said[3:]) == (["policy", "paths"], [paths, "within"])
    assert rows.count() == len(run_status(finished).planned)


def test_a_filter_narrows_the_list_and_its_numbers(page: Any, site: str, finished: Run) -> None:
    listed(page, site)
    before = total(page)
    page.get_by_label("kept", exact=False).first.check()
    wait_total(page, fate_of(finished)["kept"])
    assert total(page) < before
    assert set(page.locator("td .state").all_inner_texts()) == {"kept"}
    page.locator(".chip").click()
    wait_total(page, before)


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ("steps=3", "pl.col('steps') == 3"),
        ("steps=4-", "pl.col('steps') >= 4"),
        ("first_error=none", "pl.col('first_error') == -1"),
        (
            "first_error=2&judge_first_error=2",
            "(pl.col('first_error') == 1) & (pl.col('judge_first_error') == 1)",
        ),
        (
            "state=dropped&level=2&level=3",
            "(pl.col('state') == 'dropped') & (pl.col('level') > '1')",
        ),
        ("correct=no&votes=unanimous", "~pl.col('correct') & (pl.col('votes') == 'unanimous')"),
        ("pass_at_1=0.5-0.8", "pl.col('pass_at_1').is_between(0.5, 0.8)"),
        ("path_id=mean", "pl.col('path_id').str.contains('mean')"),
        ("reason=-&code=ok", "pl.col('reason').is_null() & (pl.col('code') == 'ok')"),
    ],
)
def test_filters_mean_what_they_say(
    page: Any, site: str, finished: Run, query: str, holds: str
) -> None:
    import polars as pl

    from workflows.browsing.index import Index

    index = Index(finished)
    index.fill()
    expected = index.frame().filter(eval(holds, {"pl": pl}))
    assert expected.height > 0
    listed(page, site, query)
    wait_total(page, expected.height)
    shown = page.locator("td.what a").all_inner_texts()
    assert shown == expected["path_id"].head(50).to_list()


def test_a_filter_that_is_none_says_what_to_write(
    page: Any, site: str, troubles: list[str]
) -> None:
    page.goto(f"{site}#/r/paths?steps=many")
    assert "write a number or a range" in page.locator("[role=alert]").inner_text()
    page.goto("about:blank")  # no request is under way any more
    assert all("400 (Bad Request)" in trouble for trouble in troubles)
    troubles.clear()


def test_pages_follow_one_another(page: Any, site: str) -> None:
    listed(page, site)
    first = page.locator("td.what a").all_inner_texts()
    page.keyboard.press("n")
    page.wait_for_function("() => /51 to 100/.test(document.querySelector('.total').innerText)")
    second = page.locator("td.what a").all_inner_texts()
    assert len(first) == len(second) == 50
    assert not set(first) & set(second)
    page.keyboard.press("p")
    page.wait_for_function("() => /, 1 to 50/.test(document.querySelector('.total').innerText)")


def test_a_search_finds_a_text_wherever_it_stands(page: Any, site: str, finished: Run) -> None:
    opened = OpenRun(finished)
    written = opened.scan("rationalize").collect()
    word = "It follows the error in paragraph 1"
    hits = written.filter(written["text"].str.contains(word, literal=True))["path_id"].n_unique()
    listed(page, site)
    page.keyboard.press("/")
    page.keyboard.type(word.upper())
    page.keyboard.press("Enter")
    page.wait_for_selector(".chip")
    page.wait_for_function("() => !/searching/.test(document.querySelector('.total').innerText)")
    wait_total(page, hits)


def test_keys_alone_lead_from_the_list_to_a_path_and_on(page: Any, site: str) -> None:
    listed(page, site, "reason=non_monotone")
    ids = page.locator("td.what a").all_inner_texts()
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "id => document.querySelector('.whole h1')?.innerText === id", arg=ids[1]
    )
    page.keyboard.press("j")
    page.wait_for_function(
        "id => document.querySelector('.whole h1')?.innerText === id", arg=ids[2]
    )
    page.keyboard.press("k")
    page.keyboard.press("k")
    page.wait_for_function(
        "id => document.querySelector('.whole h1')?.innerText === id", arg=ids[0]
    )
    page.keyboard.press("Escape")
    wait_total(page, len(ids))
    page.keyboard.press("g")
    page.wait_for_selector(".lead")


def test_help_opens_and_closes_by_key(page: Any, site: str) -> None:
    page.goto(f"{site}#/r")
    page.wait_for_selector(".lead")
    page.keyboard.press("?")
    page.wait_for_selector("[role=dialog]")
    page.keyboard.press("Escape")
    page.wait_for_selector("[role=dialog]", state="detached")


def test_a_path_shows_all_that_its_run_holds_of_it(page: Any, site: str, finished: Run) -> None:
    opened = OpenRun(finished)
    label = opened.scan("label").collect()
    kept = opened.scan("consensus").collect().filter("kept")["path_id"][0]
    why = opened.why(kept)
    (path,), (written,) = why.rows["sample"], why.rows["rationalize"]
    (labels,) = label.filter(label["path_id"] == kept).to_dicts()
    page.goto(f"{site}#/r/path/{kept.replace('/', '%2F').replace('#', '%23')}")
    page.wait_for_selector(".whole h1")
    page.keyboard.press("o")
    text = page.locator(".whole").inner_text()
    (problem,) = why.rows["problems"]
    for part in (
        problem.problem,
        problem.answer,
        *path.steps,
        *written.analyses,
        str(written.seed),
    ):
        assert part.strip() in text
    for run in written.executions:
        assert run.output.strip() in text
    said = page.locator(".steps > li .label").all_inner_texts()
    assert [one.endswith("right") for one in said] == labels["labels"]
    (example,) = why.rows["export"]
    for turn in example.conversations:
        assert turn.content.split("\n")[0] in text
    assert page.locator(".curve circle").count() == len(labels["mc"])


def test_two_runs_stand_side_by_side(page: Any, site: str, finished: Run) -> None:
    opened = OpenRun(finished)
    path_id = opened.scan("label").collect()["path_id"][0]
    escaped = path_id.replace("/", "%2F").replace("#", "%23")
    page.goto(f"{site}#/r/path/{escaped}?beside=stricter")
    page.wait_for_function("() => document.querySelectorAll('.beside .whole h1').length === 2")
    assert page.locator(".run-name").all_inner_texts() == ["r", "stricter"]
    page.goto(f"{site}#/r")
    page.wait_for_function("() => document.querySelectorAll('.lead').length === 2")


def test_paths_on_which_two_runs_differ_are_listed_and_walked(
    page: Any, site: str, finished: Run, stricter: Run
) -> None:
    def first_errors(run: Run) -> dict[str, int | None]:
        return dict(OpenRun(run).scan("label").collect().select("path_id", "first_error").rows())

    mine, theirs = first_errors(finished), first_errors(stricter)
    differing = [path_id for path_id in mine if mine[path_id] != theirs.get(path_id, -2)]
    assert differing
    listed(page, site)
    page.select_option("select[name=beside]", "stricter")
    page.locator("fieldset", has_text="differs from the run beside it").get_by_label(
        "labels"
    ).check()
    wait_total(page, len(differing))
    ids = page.locator("td.what a").all_inner_texts()
    assert set(ids) <= set(differing)
    assert page.locator("td .why", has_text="stricter: ").count() == len(ids)
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.beside .whole h1').length === 2")
    page.keyboard.press("j")
    page.wait_for_function(
        "id => [...document.querySelectorAll('.beside .whole h1')]"
        ".filter(h1 => h1.innerText === id).length === 2",
        arg=ids[1],
    )
    page.keyboard.press("Escape")
    wait_total(page, len(differing))
    page.goto(f"{site}#/r")
    page.get_by_role("link", name="Paths on which r and stricter differ").click()
    page.wait_for_selector(".chip")
    page.wait_for_function(
        "least => Number(document.querySelector('.total b')?.innerText.replace(',', '')) >= least",
        arg=len(differing),
    )


def test_a_path_that_is_not_there_is_said(page: Any, site: str, troubles: list[str]) -> None:
    page.goto(f"{site}#/r/path/nobody%237")
    assert "no path" in page.locator("[role=alert]").inner_text()
    page.goto("about:blank")
    assert all("404 (Not Found)" in trouble for trouble in troubles)
    troubles.clear()


@pytest.mark.parametrize("width", [400, 900, 1600])
def test_nothing_is_wider_than_the_window(page: Any, site: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for view in ("", "/paths"):
        page.goto(f"{site}#/r{view}")
        page.wait_for_selector(".lead" if not view else "table.paths tbody tr")
        wide = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, view


def test_colours_follow_the_person(page: Any, site: str) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(f"{site}#/r")
    page.wait_for_selector(".lead")
    paper = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    page.keyboard.press("t")
    light = page.evaluate(paper)
    page.keyboard.press("t")
    assert dark != light
    assert page.evaluate(paper) == dark


def test_a_copy_is_written_again_over_itself_and_over_nothing_else(
    finished: Run, tmp_path: Path
) -> None:
    from launch.browse.desk import open_desks
    from launch.browse.files import write_files
    from storage.errors import InputError

    def write(folder: Path) -> int:
        return write_files(open_desks([finished], None, ""), folder, lambda *_: None, workers=1)

    first = write(tmp_path / "copy")
    assert write(tmp_path / "copy") == first
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="name a new folder"):
        write(tmp_path / "other")
    assert (tmp_path / "other" / "thesis.tex").read_text() == "mine"
