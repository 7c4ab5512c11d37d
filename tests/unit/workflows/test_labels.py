"""Labels: tables of MC values and what they say of each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ConfigurationError, ItemError
from storage.rows.kinds import PATHS, ROLLOUTS, ShardRows
from storage.rows.records import AnswerCount, Path, StateRollouts
from workflows.labels.rule import first_error
from workflows.labels.values import zero_after_first_zero
from workflows.settings import LabelSettings
from workflows.stages.label import LabelStage, path_labels

RATIO = LabelSettings()
DIFFERENCE = LabelSettings(form="difference", threshold=-0.3)
HARD = LabelSettings(form="hard", threshold=0)
SOFT = LabelSettings(form="soft", threshold=0.5)
KEEP = LabelSettings(after_first_zero="keep")


def path(steps: int, correct: bool, index: int = 0, round_: int = 0) -> Path:
    return Path(
        path_id=f"p#{index}", problem_id="p", index=index, round=round_, text="",
        finish_reason="stop", steps=[f"step {number}" for number in range(steps)], answer="1",
        correct=correct, valid=True, invalid_reason=None, duplicate_of=None, selected=True,
        tokens=1, seed=0,
    )  # fmt: skip


def rows(
    counts: Sequence[tuple[int, int]], stop_rule: str = "exact", path_id: str = "p#0"
) -> list[StateRollouts]:
    return [
        StateRollouts(
            path_id=path_id, problem_id="p", state=state, round=0, n=n, c=c,
            answers=[AnswerCount("1", c, True)], truncated=0, stop_rule=stop_rule, shared=False,
            model="m", seed=0, tokens=1,
        )
        for state, (c, n) in enumerate(counts)
    ]  # fmt: skip


def labels_of(
    tenths: Sequence[int], correct: bool, settings: LabelSettings, stop_rule: str = "exact"
) -> str:
    """Labels of a path whose states have these tenths of right rollouts, as a string of 1 and 0."""
    made = path_labels(
        path(len(tenths), correct), rows([(c, 10) for c in tenths], stop_rule), settings, 0.5
    )
    return "".join("1" if right else "0" for right in made.labels)


TABLE = [
    pytest.param([8, 8, 8], True, RATIO, "111", id="no change"),
    pytest.param([8, 6, 8], True, RATIO, "011", id="0.75 is below 0.8"),
    pytest.param([10, 8, 8], True, RATIO, "111", id="0.8 is enough"),
    pytest.param([5, 9, 4], True, RATIO, "101", id="a gain, a loss, a right end"),
    pytest.param([8, 8, 8], False, RATIO, "110", id="the last step of a wrong path is wrong"),
    pytest.param([1, 1, 1], True, RATIO, "111", id="the last step of a right path passes"),
    pytest.param([8, 0, 8], True, RATIO, "000", id="after the first zero all are wrong"),
    pytest.param([8, 8, 0, 0], False, RATIO, "1000", id="0 / 0 is wrong"),
    pytest.param([8, 6, 4], True, DIFFERENCE, "111", id="differences above the threshold"),
    pytest.param([8, 4, 4], True, DIFFERENCE, "011", id="a difference below it"),
    pytest.param([2, 0, 0], False, DIFFERENCE, "000", id="a small loss that ends at zero is wrong"),
    pytest.param([8, 1, 0, 5], True, HARD, "1000", id="hard: any success is right"),
    pytest.param([8, 5, 4], True, SOFT, "101", id="soft: MC after the step"),
    pytest.param([8, 0, 8], True, KEEP, "011", id="keep: a step out of zero lost nothing"),
    pytest.param([8, 0, 0], False, KEEP, "000", id="keep: 0 / 0 is wrong"),
]


@pytest.mark.parametrize(("tenths", "correct", "settings", "expected"), TABLE)
def test_labels_of_a_path(
    tenths: list[int], correct: bool, settings: LabelSettings, expected: str
) -> None:
    assert labels_of(tenths, correct, settings) == expected


def test_what_was_compared_is_stored() -> None:
    made = path_labels(path(3, True), rows([(8, 32), (16, 32), (4, 32)]), RATIO, 0.25)
    assert made.mc == [0.25, 0.5, 0.125, 1.0]
    assert made.n == [32, 32, 32, 0]
    assert made.value == [2.0, 0.25, 8.0]
    assert made.labels == [True, False, True]
    assert made.first_error == 1
    assert (made.form, made.threshold, made.policy_pass_at_1) == ("ratio", 0.8, 0.25)


def test_states_after_the_zero_at_which_rollouts_stopped_are_implied() -> None:
    made = path_labels(path(4, True), rows([(8, 10), (0, 10)], "exact_zero_stop"), RATIO, 0.5)
    assert made.mc == [0.8, 0, 0, 0, 0]
    assert made.n == [10, 10, 0, 0, 0]
    assert made.labels == [False] * 4


@given(st.lists(st.integers(0, 8), min_size=2, max_size=8), st.booleans())
def test_stopping_at_the_first_zero_changes_no_label(counts: list[int], correct: bool) -> None:
    counts[0] = max(1, counts[0])
    all_rows = rows([(c, 8) for c in counts])
    stop = counts.index(0) + 1 if 0 in counts else len(counts)
    stopped = rows([(c, 8) for c in counts[:stop]], "exact_zero_stop")
    for settings in (RATIO, DIFFERENCE, HARD, SOFT):
        whole = path_labels(path(len(counts), correct), all_rows, settings, 0.5)
        short = path_labels(path(len(counts), correct), stopped, settings, 0.5)
        assert replace(short, n=whole.n) == whole


@given(st.lists(st.integers(0, 8), min_size=2, max_size=8), st.booleans())
def test_a_wrong_path_always_has_a_wrong_step(counts: list[int], keep: bool) -> None:
    counts[0] = max(1, counts[0])
    settings = KEEP if keep else RATIO
    made = path_labels(path(len(counts), False), rows([(c, 8) for c in counts]), settings, 0.5)
    assert made.first_error is not None
    assert made.first_error == first_error(made.labels)


def test_the_rounds_of_a_state_are_summed() -> None:
    twice = [replace(row, round=number) for number in (0, 1) for row in rows([(1, 4), (2, 4)])]
    made = path_labels(path(2, True), twice, RATIO, 0.5)
    assert made.mc == [0.25, 0.5, 1.0]
    assert made.n == [8, 8, 0]


def test_no_success_from_the_start_is_a_reason_to_drop() -> None:
    with pytest.raises(ItemError) as caught:
        path_labels(path(2, False), rows([(0, 128)]), RATIO, 0.5)
    assert caught.value.reason == "mc_zero_start"


def test_a_state_without_rollouts_is_a_reason_to_drop() -> None:
    with pytest.raises(ItemError) as caught:
        path_labels(path(3, True), rows([(8, 10)], "exact_zero_stop"), RATIO, 0.5)
    assert caught.value.reason == "rollouts_missing"


def test_labels_that_the_stop_rule_forbids_are_refused_with_the_reason() -> None:
    with pytest.raises(ConfigurationError, match=r"'ratio'.*'first_success'"):
        labels_of([8, 8], True, RATIO, "first_success")
    with pytest.raises(ConfigurationError, match="after_first_zero"):
        labels_of([8, 8], True, KEEP, "exact_zero_stop")


def test_zeroing_starts_at_the_first_zero() -> None:
    assert zero_after_first_zero([1, 0.5, 0, 0.5, 1]) == [1, 0.5, 0, 0, 0]
    assert zero_after_first_zero([1, 0.5]) == [1, 0.5]


async def test_the_stage_labels_what_estimate_finished_and_counts_the_rest() -> None:
    paths = (
        path(2, True, 0),
        path(2, False, 1),
        path(2, False, 2),
        path(2, False, 3, round_=1),
        replace(path(2, True, 4), selected=False),
    )
    made = (
        *rows([(8, 10), (8, 10)], path_id="p#0"),
        *rows([(8, 10)], path_id="p#1"),
        *rows([(0, 10)], "exact_zero_stop", path_id="p#2"),
        *rows([(8, 10), (1, 10)], path_id="p#3"),
    )
    result = await LabelStage(RATIO).run(ShardRows({PATHS: paths, ROLLOUTS: made}))
    assert [row.path_id for row in result.rows] == ["p#0", "p#3"]
    assert result.drops == ()
    assert result.counts == {"steps": 4, "steps_right": 2, "ended_before": 2}
    # The first round has p#0, p#1, p#2 and p#4; two of them are right.
    assert {row.policy_pass_at_1 for row in result.rows} == {0.5}


async def test_the_stage_refuses_a_form_that_the_rollouts_forbid() -> None:
    with pytest.raises(ConfigurationError):
        await LabelStage(RATIO).run(
            ShardRows({PATHS: (path(1, True),), ROLLOUTS: tuple(rows([(8, 10)], "first_success"))})
        )
