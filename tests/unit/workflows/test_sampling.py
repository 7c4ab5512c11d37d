"""Quota, selection and Pass@1 as pure functions of the paths so far."""

from __future__ import annotations

import math
import random

import pytest

from storage.rows.records import Path
from workflows.formats.steps import flaw
from workflows.sampling.quota import QuotaRule, pass_at_1
from workflows.settings import SampleSettings


def path(index: int, kind: str, round: int = 0) -> Path:
    """A path of kind r(ight), w(rong), i(nvalid), d(uplicate of a right one)."""
    return Path(
        path_id=f"p#{index}",
        problem_id="p",
        index=index,
        round=round,
        text=str(index),
        steps=["a", "b"],
        finish_reason="stop",
        answer="5",
        correct=kind in "rd",
        valid=kind != "i",
        invalid_reason="one_step" if kind == "i" else None,
        duplicate_of="p#0" if kind == "d" else None,
        selected=False,
        tokens=1,
        seed=index,
    )


def paths(kinds: str) -> list[Path]:
    return [path(index, kind) for index, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("finish", "text", "answer", "reason"),
    [
        ("stop", "Step 1: a\n\nStep 2: b", "5", None),
        ("length", "Step 1: a\n\nStep 2: b", "5", "truncated"),
        ("length", "Step 1: a", None, "truncated"),
        ("stop", "Step 1: a", None, "no_box"),
        ("stop", "Step 1: a", "5", "one_step"),
        ("stop", "Step 1: a\n\nStep 3: c", "5", "step_gap"),
        ("stop", "Step 1: a\n\nStep 2: b\n\nSecondly, c\n\nStep 4: d", "5", "step_gap"),
        ("stop", "Step 1: \n\nStep 2: b\n\nStep 3: c", "5", "empty_step"),
        ("stop", "Step 1: a\n\n**Step 2:**\n\n**Step 3:** c", "5", "empty_step"),
    ],
)
def test_a_path_has_one_flaw(finish: str, text: str, answer: str | None, reason: str) -> None:
    assert flaw(finish, text, answer) == reason


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("", 8),
        ("rrww", 0),
        ("rrwi", 3),
        ("rdwwwww", 3),
        ("r" * 18, 2),
        ("r" * 20, 0),
        ("iiii", 3),
    ],
)
def test_the_next_round_fills_the_quota_within_the_shared_cap(kinds: str, expected: int) -> None:
    rule = QuotaRule(SampleSettings(correct=2, incorrect=2, first_round=8, round=3, cap=20))
    assert rule.next_round(paths(kinds)) == expected


@pytest.mark.parametrize(
    ("drawn", "growth", "expected"), [(32, 0.25, 16), (80, 0.25, 20), (80, 0.0, 16), (99, 0.5, 1)]
)
def test_a_problem_that_goes_on_for_long_draws_growing_rounds(
    drawn: int, growth: float, expected: int
) -> None:
    rule = QuotaRule(SampleSettings(growth=growth, cap=100))
    assert rule.next_round(paths("r" * drawn)) == expected


def test_a_problem_that_never_shows_a_class_takes_nineteen_rounds_to_the_papers_cap() -> None:
    rule, rounds, drawn = QuotaRule(SampleSettings()), 0, 0
    while size := rule.next_round(paths("r" * drawn)):
        rounds, drawn = rounds + 1, drawn + size
    assert (rounds, drawn) == (19, 2048)


def test_the_cap_bounds_the_first_round_too() -> None:
    assert QuotaRule(SampleSettings(first_round=32, cap=10)).next_round([]) == 10


@pytest.mark.parametrize(
    ("kinds", "top_up", "expected"),
    [
        pytest.param("rrrrwwww", True, {0, 1, 4, 5}, id="both_full"),
        pytest.param("rwwwww", True, {0, 1, 2, 3}, id="short_of_right_ones"),
        pytest.param("rwwwww", False, {0, 1, 2}, id="no_top_up"),
        pytest.param("rdww", True, {0, 2, 3}, id="a_duplicate_is_no_substitute"),
        pytest.param("rrrr", True, set(), id="no_wrong_one"),
        pytest.param("iiww", True, set(), id="no_right_one"),
    ],
)
def test_selection_takes_the_first_of_each_class(
    kinds: str, top_up: bool, expected: set[int]
) -> None:
    rule = QuotaRule(SampleSettings(correct=2, incorrect=2, top_up=top_up))
    assert rule.select(paths(kinds)) == {f"p#{index}" for index in expected}


@pytest.mark.parametrize(
    ("kinds", "reason"),
    [
        ("rw", None),
        ("rr", "no_incorrect_path"),
        ("wwi", "no_correct_path"),
        ("ii", "no_valid_path"),
        ("", "no_valid_path"),
    ],
)
def test_a_problem_is_dropped_for_the_class_it_lacks(kinds: str, reason: str | None) -> None:
    assert QuotaRule(SampleSettings()).drop_reason(paths(kinds)) == reason


def test_selection_does_not_depend_on_the_order_of_arrival() -> None:
    drawn = paths("wrwrrwrwwr")
    shuffled = drawn[:]
    random.Random(3).shuffle(shuffled)
    rule = QuotaRule(SampleSettings(correct=3, incorrect=2))
    assert rule.select(shuffled) == rule.select(drawn)


def test_pass_at_1_counts_the_first_round_alone() -> None:
    first = [path(index, kind) for index, kind in enumerate("rwid")]
    later = [path(index, "w", round=1) for index in range(4, 12)]
    assert pass_at_1(first + later) == 0.5
    assert math.isnan(pass_at_1([])), "not known, which is not 0"


def test_pass_at_1_is_unbiased_by_the_stopping_rule() -> None:
    """Pooling all rounds would be biased: sampling goes on until the rarer class is found."""
    rng = random.Random(20)
    truth, rule = 0.15, QuotaRule(SampleSettings(correct=2, incorrect=2, first_round=4, round=2))
    firsts, pooled = [], []
    for _ in range(4000):
        drawn: list[Path] = []
        number = 0
        while size := rule.next_round(drawn):
            for _ in range(size):
                kind = "r" if rng.random() < truth else "w"
                drawn.append(path(len(drawn), kind, round=number))
            number += 1
        firsts.append(pass_at_1(drawn))
        pooled.append(sum(p.correct for p in drawn) / len(drawn))
    assert abs(sum(firsts) / 4000 - truth) < 0.01, "seed 20"
    assert sum(pooled) / 4000 > truth + 0.03, "seed 20"
