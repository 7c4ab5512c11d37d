"""docs/faults.md and docs/protocol.md name tests for their cases, and those exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/faults.md").read_text()
NAMED = r"`(tests/[\w/]+\.py)(?:::(\w+))?`"
TIMELINES = (ROOT / "docs/protocol.md").read_text()


def test_all_cases_are_there_once() -> None:
    assert re.findall(r"^\| (\d+) \|", TABLE, re.MULTILINE) == [str(n) for n in range(1, 44)]


def test_each_timeline_names_a_test() -> None:
    for case in TIMELINES.split("\n## ")[1:]:
        assert re.search(NAMED, case), f"no test for: {case.splitlines()[0]}"


@pytest.mark.parametrize(("text", "least"), [(TABLE, 35), (TIMELINES, 13)])
def test_each_test_that_is_named_exists(text: str, least: int) -> None:
    named = re.findall(NAMED, text)
    assert len(named) >= least
    for file, test in named:
        text = (ROOT / file).read_text()
        assert not test or re.search(rf"def {test}\(", text), f"{file} has no {test}"
