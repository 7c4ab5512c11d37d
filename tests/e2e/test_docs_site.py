"""`make docs`: every page is on the site, in its order, and no link leads nowhere."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

from tests.support.commands import ROOT

SITE = ROOT / "docs" / "site"


def pages(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        for place in entry.values():
            yield from [place] if isinstance(place, str) else pages(place)


def test_the_site_has_every_page_once_and_builds_without_a_warning() -> None:
    nav = tomllib.loads((SITE / "zensical.toml").read_text())["project"]["nav"]
    top = ["changelog.md", "contributing.md", "design.md", "index.md"]
    assert sorted(pages(nav)) == sorted([*(f.name for f in (ROOT / "docs").glob("*.md")), *top])
    done = subprocess.run(
        [sys.executable, SITE / "build.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    made = ROOT / ".stepmill" / "docs" / "site"
    assert all((made / page.replace(".md", ".html")).is_file() for page in pages(nav))
