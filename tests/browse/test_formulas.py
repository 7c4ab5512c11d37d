"""Formulas of problems, steps and analyses are drawn; what is none stays as it was written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from storage.runs.run import Run
from tests.support.page import copied, served

SHOW = """async text => {
  const { html, render } = await import("./preact-htm.min.js");
  const { Tex } = await import("./tex.js");
  const place = document.body.appendChild(document.createElement("p"));
  place.id = "here";
  place.className = "prose";
  render(html`<${Tex} text=${text} />`, place);
}"""
UNDRAWN = """() => {
  const place = document.getElementById("here").cloneNode(true);
  place.querySelectorAll(".katex").forEach(drawn => drawn.replaceWith("*"));
  return place.textContent;
}"""


@pytest.fixture(scope="module", params=["served", "copied"])
def site(
    request: pytest.FixtureRequest,
    browser: Any,
    finished: Run,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("formulas")
    if request.param == "served":
        with served([finished], folder) as (address, _):
            yield address
    else:
        with copied([finished], folder) as address:
            yield address


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"Let $x^2 = 4$, so \(x = \pm 2\).", "Let *, so *."),
        (r"$$\frac{1}{2}$$ and \[\sqrt[3]{8}\]", "* and *"),
        (r"\begin{align*}a &= b \\ c &= d\end{align*}", "*"),
        (r"an arrow $\vec{AB}$ of length $\overline{x}$", "an arrow * of length *"),
        (r"\boxed{5} is no formula, $\boxed{5}$ is", r"\boxed{5} is no formula, * is"),
        ("it costs $5 and then $6 more", "it costs $5 and then $6 more"),
        (r"it costs \$5, that is $5x$", r"it costs \$5, that is *"),
        (r"$\nosuchcommand{x}$ and $\frac{1}$", r"$\nosuchcommand{x}$ and $\frac{1}$"),
        ("an open $ and no other", "an open $ and no other"),
        ("$" + "x+" * 3_000 + "x$", "$" + "x+" * 3_000 + "x$"),
    ],
)
def test_a_text_is_shown_with_its_formulas(page: Any, site: str, text: str, shown: str) -> None:
    page.add_init_script(
        "window.refused = []; document.addEventListener('securitypolicyviolation',"
        " event => window.refused.push(event.violatedDirective))"
    )
    page.goto(f"{site}#/r")
    page.wait_for_selector(".lead")
    page.evaluate(SHOW, text)
    page.wait_for_function("n => document.querySelectorAll('.katex').length === n",
                           arg=shown.count("*"))  # fmt: skip
    assert page.evaluate(UNDRAWN) == shown
    page.evaluate("() => document.fonts.ready.then(() => null)")
    assert page.evaluate("() => window.refused") == []
    if "*" in shown:
        assert page.evaluate("() => document.fonts.check('16px KaTeX_Main')")
        assert page.evaluate(
            "() => [...document.fonts].filter(font => font.status === 'error').length"
        ) == 0  # fmt: skip


def test_an_arrow_is_as_wide_as_it_is_made(page: Any, site: str) -> None:
    page.goto(f"{site}#/r")
    page.wait_for_selector(".lead")
    page.evaluate(SHOW, r"$\vec{A}$")
    page.wait_for_selector(".katex svg")
    width = page.evaluate(
        "() => document.querySelector('.katex svg').getBoundingClientRect().width"
    )
    assert 4 < width < 20


def test_a_formula_draws_nothing_outside_its_text(page: Any, site: str) -> None:
    page.goto(f"{site}#/r")
    page.wait_for_selector(".lead")
    before = page.locator(".lead").screenshot()
    page.evaluate(SHOW, r"$\smash{\rule[2em]{20em}{20em}}$")
    page.wait_for_selector(".katex", state="attached")
    page.evaluate("() => document.querySelector('.lead').after(document.getElementById('here'))")
    page.evaluate("() => scrollTo(0, 0)")
    assert page.locator(".lead").screenshot() == before
