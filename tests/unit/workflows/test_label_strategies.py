"""The acceptance checks of the strategies that only estimate, by hand and against plain loops."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from storage.errors import ConfigurationError, ItemError
from storage.rows.records import PathLabels
from tests.support.label_rows import path, rows
from workflows.estimation.budgets import BinarySearch, check_budget
from workflows.estimation.contract import Count
from workflows.labels.support import RIGHT_ANSWER, check_labels
from workflows.labels.values import best_of, step_values
from workflows.settings import EstimateSettings, LabelSettings
from workflows.stages.label import path_labels
from workflows.stages.pit import PitSettings, around_first_pit

HARD = LabelSettings(form="hard", threshold=0)
BINARY = EstimateSettings(
    mc_budget="binary_search", k_hard=8, k_medium=8, k_easy=8, probe=8, batch=2
)
SCAN = LabelSettings(
    form="start_ratio", threshold=0.5, tolerance=2, after_first_zero="drop", unseen_zero="drop"
)


def labels(counts: Sequence[int], correct: bool, settings: LabelSettings, of: int) -> PathLabels:
    """Labels of a path whose states 0..T-1 had so many right ones of `of` rollouts."""
    whose = path(len(counts), correct)
    stopped = rows([(c, of) for c in counts], "exact_zero_stop", whose)
    return path_labels(whose, stopped, settings, counts[0] / of)


@pytest.mark.parametrize("steps", range(2, 18))
def test_binary_search_finds_the_first_error_of_a_linear_scan_in_log2_probes(steps: int) -> None:
    budget = BinarySearch(BINARY)
    for dead in range(1, steps + 1):  # the first state without a right rollout
        live = random.Random(dead)
        counts = {0: Count(8, 4)}
        while wanted := budget.wants(steps, 8, counts, False):
            ((state, n),) = wanted
            made = counts.get(state, Count(0, 0))
            right = sum(live.random() < 0.6 for _ in range(n)) if state < dead else 0
            counts[state] = Count(made.n + n, made.c + right)
        assert len(counts) - 1 <= math.ceil(math.log2(steps))
        whose = path(steps, False)
        found = rows([], "binary_search", whose)
        for state, made in sorted(counts.items()):
            (row,) = rows([(made.c, made.n)], "binary_search", whose)
            found.append(replace(row, state=state))
        assert path_labels(whose, found, HARD, 0.5).first_error == dead - 1


def test_binary_search_takes_a_right_path_to_have_no_error() -> None:
    assert BinarySearch(BINARY).wants(6, 8, {0: Count(8, 3)}, True) == ()
    whose = path(6, True)
    found = path_labels(whose, rows([(3, 8)], "binary_search", whose), HARD, 0.5)
    assert found.labels == [True] * 6
    assert found.n == [8, 0, 0, 0, 0, 0, 0]


def test_scan_by_hand() -> None:
    """SC = 6/8; MC after the steps 8, 3, 6, 3, 0 of 8: the first zero is step 5 (0-based 4)."""
    found = labels([6, 8, 3, 6, 3, 0, 0], False, SCAN, 8)
    assert found.value == pytest.approx([1.0, 1.0, 1.0, 0.5, 0.0])
    assert found.labels == [True, True, True, True, False]
    assert found.first_error == 4
    assert (len(found.mc), len(found.n)) == (6, 6)


def test_scan_trusts_steps_further_than_the_tolerance_before_the_first_zero() -> None:
    found = labels([6, 1, 6, 6, 6, 0], False, SCAN, 8)
    assert found.value[0] == 1.0, "1/6 of the start, but three steps before the window"
    untrusting = LabelSettings(form="start_ratio", threshold=0.5)
    assert labels([6, 1, 6, 6, 6, 0], False, untrusting, 8).value[0] == pytest.approx(1 / 6)


def test_scan_drops_a_wrong_path_without_a_zero_and_gives_right_ones_without_rollouts() -> None:
    with pytest.raises(ItemError, match="no_zero"):
        labels([6, 5, 4], False, SCAN, 8)
    whose = path(4, True)
    found = path_labels(whose, rows([(6, 8)], RIGHT_ANSWER, whose), SCAN, 0.75)
    assert (found.labels, found.value) == ([True] * 4, [1.0] * 4)
    assert found.n == [8, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("zero", [True, False, False, False]),
        ("drop", [True, False]),
    ],
)
def test_steps_after_the_first_zero_are_wrong_or_gone(after: str, expected: list[bool]) -> None:
    settings = LabelSettings(form="hard", threshold=0, after_first_zero=after)  # type: ignore[arg-type]
    assert labels([8, 8, 0, 0], False, settings, 8).labels == expected


def test_steps_after_the_first_zero_are_kept_as_measured() -> None:
    settings = LabelSettings(form="hard", threshold=0, after_first_zero="keep")
    whose = path(4, True)
    found = path_labels(whose, rows([(8, 8), (8, 8), (0, 8), (3, 8)], "exact", whose), settings, 1)
    assert found.labels == [True, False, True, True]


@pytest.mark.parametrize("prover", ["same", "best_of"])
@pytest.mark.parametrize("correct", [True, False])
def test_advantages_of_a_path_sum_to_its_last_value_less_its_first(
    prover: str, correct: bool
) -> None:
    print("seed 5")
    drawn = random.Random(5)
    settings = LabelSettings(
        form="difference",
        threshold=0,
        prover=prover,
        after_first_zero="keep",  # type: ignore[arg-type]
    )
    for _ in range(50):
        counts = [drawn.randint(1, 16), *(drawn.randint(0, 16) for _ in range(6))]
        whose = path(7, correct)
        found = path_labels(whose, rows([(c, 16) for c in counts], "exact", whose), settings, 0.5)
        assert sum(found.adv_mu) == pytest.approx(found.q_mu[-1] - found.q_mu[0])
        assert found.value == pytest.approx(found.adv_mu)


def test_provers_by_hand() -> None:
    """Best of 4 at Q = 1/2 is 15/16; the effective reward of a step to 1 from 1/2 with alpha 2."""
    assert best_of(0.5, 4) == 15 / 16
    assert [best_of(q, 32) for q in (0.0, 1.0)] == [0.0, 1.0]
    keep = {"after_first_zero": "keep", "threshold": 0.0, "alpha": 2.0}
    of_four = LabelSettings(form="effective", prover="best_of", prover_k=4, **keep)  # type: ignore[arg-type]
    assert step_values([0.5, 1.0], of_four).value == pytest.approx([1.0 + 2 * (1 - 15 / 16)])
    other = LabelSettings(form="effective", prover="model", **keep)  # type: ignore[arg-type]
    assert step_values([0.5, 1.0], other, [0.25, 0.75]).value == pytest.approx([1.0 + 2 * 0.5])
    same = LabelSettings(form="difference", prover="same", **keep)  # type: ignore[arg-type]
    plain = LabelSettings(form="difference", **keep)  # type: ignore[arg-type]
    measured = [0.5, 0.75, 0.25, 0.0]
    assert step_values(measured, same).value == step_values(measured, plain).value, (
        "the paper's difference form is this with the completion model as prover"
    )


@pytest.mark.parametrize(
    ("mc", "around"),
    [
        pytest.param([1.0, 0.9, 0.1, 0.9, 0.0, 1.0], [1, 2], id="the first of two"),
        pytest.param([0.4, 0.0, 0.0, 0.0], [], id="no state is good"),
        pytest.param([0.9, 0.5, 0.3, 0.1, 0.0], [], id="a slow decline has no pit"),
        pytest.param([0.9, 0.8, 0.0], [1], id="the last step: its end has no rollouts"),
        pytest.param([0.5, 0.25, 0.2, 0.0], [0, 1], id="both bounds count"),
    ],
)
def test_the_states_around_the_first_pit_by_hand(mc: list[float], around: list[int]) -> None:
    assert around_first_pit(mc, PitSettings()) == around


@pytest.mark.parametrize(
    ("estimate", "label", "said"),
    [
        (BINARY, LabelSettings(), "binary_search` knows only whether MC > 0"),
        (
            EstimateSettings(paths="wrong", pilot="p"),
            LabelSettings(estimate="posterior"),
            "posteriors read all states of all paths",
        ),
    ],
)
def test_budgets_that_can_t_give_the_labels_are_refused(
    estimate: EstimateSettings, label: LabelSettings, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        check_budget(estimate, label)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (LabelSettings(prover="best_of"), "speaks of differences"),
        (LabelSettings(form="effective", prover="model"), "have both or neither"),
        (LabelSettings(estimate="posterior", form="start_ratio"), "made from counts"),
        (LabelSettings(estimate="posterior", tolerance=1), "where MC = 0 was measured"),
    ],
)
def test_label_settings_that_contradict_each_other_are_refused(
    label: LabelSettings, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        check_labels(label, ("sample", "estimate", "label"))
