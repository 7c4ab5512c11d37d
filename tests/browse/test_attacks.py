"""Texts of models are shown as texts: no script of theirs runs, nothing of theirs is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from storage.runs.run import Run
from tests.support.hostile import HOME, PAYLOADS, hostile_run
from tests.support.page import copied, served

MADE_BY_MARKUP = (
    "script:not([src='app.js']), iframe, object, embed, img, base, meta[http-equiv=refresh], math,"
    " a[href^='javascript:' i], [onerror], [onload], [onfocus], [ontoggle], style"
)
"""What the page itself never makes, within its body."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return hostile_run(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module", params=["served", "copied"])
def site(
    request: pytest.FixtureRequest, hostile: Run, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    if request.param == "served":
        with served([hostile], folder) as (address, desks):
            desks["hostile"].index.fill()
            desks["hostile"].reviews.read()
            yield address
    else:
        with copied([hostile], folder) as address:
            yield address


@pytest.fixture
def watched(page: Any, site: str) -> Iterator[Any]:
    """A page of which every request, dialog and refusal of its policy is seen."""
    foreign: list[str] = []
    here = urlsplit(site).netloc

    def see(request: Any) -> None:
        if urlsplit(request.url).netloc != here:
            foreign.append(request.url)

    page.on("request", see)
    page.on("dialog", lambda dialog: foreign.append(f"dialog {dialog.message}"))
    page.add_init_script(
        "window.refused = []; document.addEventListener('securitypolicyviolation',"
        " event => window.refused.push(event.violatedDirective))"
    )
    yield page
    assert foreign == []
    assert page.evaluate("() => window.ran") is None
    assert page.evaluate("() => window.refused") == []
    assert page.locator(f"body :is({MADE_BY_MARKUP})").count() == 0


def test_paths_full_of_markup_are_text(watched: Any, site: str) -> None:
    for payload in PAYLOADS:
        path_id = f"{payload}#0"
        watched.goto(f"{site}#/hostile/path/{quote(path_id, safe='')}")
        watched.wait_for_function(
            "id => document.querySelector('.whole h1')?.textContent === id", arg=path_id
        )
        watched.keyboard.press("o")
        links = watched.eval_on_selector_all(
            "main a[href]", "all => all.map(a => a.getAttribute('href'))"
        )
        assert all(link.startswith("#/") for link in links)
        shown = watched.locator("body").inner_text()
        assert shown.count(payload) > 10 or not payload.isprintable()
        assert watched.evaluate("() => window.ran") is None


def test_first_view_and_list_full_of_markup_are_text(watched: Any, site: str) -> None:
    watched.goto(f"{site}#/hostile")
    watched.wait_for_selector(".lead")
    watched.wait_for_selector(".stages")
    assert PAYLOADS[0] in watched.locator("body").inner_text()
    watched.keyboard.press("l")
    watched.wait_for_selector("table.paths tbody tr")
    while watched.locator("fieldset button").count():
        watched.locator("fieldset button").first.click()
    assert watched.locator("table.paths tbody tr").count() == len(PAYLOADS)
    watched.locator("fieldset input").first.check()
    watched.wait_for_selector(".chip")


def test_a_filter_and_a_search_of_markup_are_text(watched: Any, site: str) -> None:
    for payload in PAYLOADS[:4]:
        watched.goto(f"{site}#/hostile/paths?reason={quote(payload)}&text={quote(payload)}")
        watched.wait_for_selector(".chip")
        watched.wait_for_function(
            "() => document.querySelector('.total b') &&"
            " !/searching/.test(document.querySelector('.total').innerText)"
        )
        assert payload in watched.locator(".chips").inner_text()


def test_a_run_of_that_name_is_text(watched: Any, site: str) -> None:
    watched.goto(f"{site}#/{quote(PAYLOADS[0], safe='')}/{quote(PAYLOADS[1], safe='')}")
    watched.wait_for_selector(".lead")


def test_what_slips_through_as_markup_would_still_not_run(
    page: Any, site: str, troubles: list[str]
) -> None:
    page.goto(f"{site}#/hostile")
    page.wait_for_selector(".lead")
    staying = "".join(text for text in PAYLOADS if "http-equiv" not in text)  # that one leaves
    with page.expect_console_message(lambda said: "Content Security Policy" in said.text):
        page.evaluate("html => { document.body.innerHTML = html }", staying)
    page.evaluate("() => new Promise(done => setTimeout(done, 0))")  # whatever ran has run
    assert page.evaluate("() => window.ran") is None
    assert any("Content Security Policy" in trouble for trouble in troubles)
    page.goto("about:blank")  # images that the markup asks for may still be on their way
    troubles.clear()


def test_the_same_texts_do_run_where_a_page_takes_them_for_markup(
    page: Any, troubles: list[str]
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_content("<div id=x></div>")
    page.evaluate(
        "html => { document.getElementById('x').innerHTML = html }", "".join(PAYLOADS[:4])
    )
    page.wait_for_function("() => window.ran === true")
    assert any(url.startswith(HOME) for url in asked)
    troubles.clear()


def test_a_terminal_is_not_steered_by_texts(hostile: Run, capsys: Any, tmp_path: Path) -> None:
    from launch.verbs.looking.paths import show_paths

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path))
        show_paths(hostile, {}, "", len(PAYLOADS), False)
    shown = capsys.readouterr().out
    assert "[click](javascript" in shown
    assert not {c for c in shown if not c.isprintable()} - {"\n", "\x1b"}
    assert "\u202e" not in shown
