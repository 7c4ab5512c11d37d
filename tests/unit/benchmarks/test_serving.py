"""The load test of a server says where an answer with other rewards parts from the earlier one."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.serving import parted_at


def history(analysis: str = "a", code: str = "c", output: str = "o", said: str = "v") -> Any:
    run = {"step": 1, "code": code, "output": output, "verdict": "ok", "wall_s": 0.1}
    return {
        "rewards": [0.9, 0.9],
        "analyses": ["first", analysis],
        "verifications": ["first", said],
        "executions": [run],
    }


@pytest.mark.parametrize(
    ("later", "where"),
    [
        (history(analysis="b", output="p"), "text"),
        (history(code="d", output="p"), "text"),
        (history(output="p", said="w"), "code"),
        (history(said="w"), "text"),
        (history(), "reward"),
    ],
)
def test_the_first_difference_is_the_one_that_is_named(later: Any, where: str) -> None:
    assert parted_at([later], [history()]) == where
