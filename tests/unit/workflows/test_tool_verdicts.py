"""Tool verdicts and GroundedPRM's hybrid value, against cases worked by hand."""

from __future__ import annotations

import pytest

from storage.rows.records import CodeRun
from workflows.judging.tools import hybrid_values, rollout_value, tool_verdicts


def ran(step: int, output: str, verdict: str = "ok") -> CodeRun:
    return CodeRun(step, "", output, verdict, 0.0, 0.0)


def test_the_last_word_of_the_last_block_of_a_step_is_its_verdict() -> None:
    runs = [ran(0, "17 True"), ran(1, "False"), ran(1, "54 True"), ran(2, "8"), ran(3, "")]
    assert tool_verdicts(runs, 5) == [True, True, None, None, None]


def test_code_that_did_not_end_gives_no_verdict() -> None:
    assert tool_verdicts([ran(0, "True", "error"), ran(1, "True", "timeout")], 2) == [None, None]


VALUES = [
    # v = (+, +), F = +:   1/2 * (1 * 2/2 + 1 * 1/2) + 1/2 = 3/4 + 1/2
    ([True, True], True, 1.25),
    # v = (+, -), F = -:   1/2 * (1 - 1/2) - 1/2
    ([True, False], False, -0.25),
    # v = (-, +, +), F = +: 1/3 * (-1 + 2/3 + 1/3) + 1/3
    ([False, True, True], True, 1 / 3),
    ([True], False, 0.0),
    ([False], False, -2.0),
]


@pytest.mark.parametrize(("verdicts", "outcome", "value"), VALUES)
def test_the_hybrid_value_by_hand(verdicts: list[bool], outcome: bool, value: float) -> None:
    assert rollout_value(verdicts, outcome) == pytest.approx(value)


def test_later_values_are_backed_up_with_their_distance() -> None:
    # V of (+, -) with a wrong answer is -1/4, V of (-) is -2: (-1/4 + 0.9 * -2) / 2 and -2.
    assert hybrid_values([True, False], False, 0.9) == pytest.approx([-1.025, -2.0])
    assert hybrid_values([True, True], True, 0.9) == pytest.approx([(1.25 + 0.9 * 2) / 2, 2.0])
