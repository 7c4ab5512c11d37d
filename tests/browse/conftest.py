"""A finished run of scripted models, and a browser to look at it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.runs.run import Run
from tests.support.browser import lacking, launched
from tests.support.scripted_build import Build, configure
from workflows.builds.plan import plan

PATIENCE_MS = 240_000
"""Longest wait for a condition: a busy machine takes a minute for what takes a second."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A build of 14 problems, from end to end, with a plan."""
    run = _built(folder := tmp_path_factory.mktemp("finished"))
    plan(configure(folder), run)
    return run


@pytest.fixture(scope="session")
def stricter(tmp_path_factory: pytest.TempPathFactory, finished: Run) -> Run:
    """The same problems with labels of another threshold, in the same store's other run."""
    folder = tmp_path_factory.mktemp("stricter")
    stages = {"seed": 3, "sample": {"cap": 64}, "label": {"threshold": 0.95}}
    return _built(folder, run="stricter", stages=stages)


def _built(folder: Path, **change: Any) -> Run:
    build = Build(configure(folder, **change))
    asyncio.run(build.work())
    build.run.finish()
    return build.run


@pytest.fixture(scope="module")
def browser(finished: Run, stricter: Run) -> Iterator[Any]:
    """Headless Chromium. The runs come first: playwright keeps a loop in this thread."""
    if missing := lacking():
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, launched(playwright) as opened:
        yield opened


@pytest.fixture
def troubles() -> list[str]:
    """What the page's console calls an error; a test that expects one clears it."""
    return []


@pytest.fixture
def page(browser: Any, troubles: list[str]) -> Iterator[Any]:
    """A page whose errors fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda said: said.type == "error" and troubles.append(said.text))
    yield page
    context.close()
    assert troubles == []
