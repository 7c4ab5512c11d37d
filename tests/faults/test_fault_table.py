"""docs/faults.md names a test for each case, and each test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/faults.md").read_text()


def test_all_cases_are_there_once() -> None:
    assert re.findall(r"^\| (\d+) \|", TABLE, re.MULTILINE) == [str(n) for n in range(1, 33)]


def test_each_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TABLE)
    assert len(named) > 32
    for file, test in named:
        text = (ROOT / file).read_text()
        assert not test or re.search(rf"def {test}\(", text), f"{file} has no {test}"
