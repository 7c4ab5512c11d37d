"""Replies of our own, and a count of what became of them for the table at the end of the tests."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data" / "own_replies.jsonl"
TALLY: Counter[str] = Counter()
"""What became of a reply -> number of replies."""


def replies(kind: str) -> list[dict[str, Any]]:
    """The lines of a kind, `rationale` or `judge`: manner, input, expected, note."""
    lines = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["kind"] == kind]
