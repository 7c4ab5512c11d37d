"""What `benchmarks.verifiers` says of rewards whose worth is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.verifier_measures import calibration_error, spread, step_chances, worth
from storage.rows.records import Response, Verification


def response(name: str, problem: str, label: int | None, correct: bool) -> Response:
    answer = "1" if correct else "2"
    return Response(name, problem, "?", ["a", "b", "c"], "easy", label, correct, answer)


def row(name: str, rewards: list[float], tokens: int = 6) -> Verification:
    return Verification(name, 0, "read", rewards, [], [], [], [False] * 3, tokens, "m", 0)


BENCH = [response("w", "p", 1, False), response("r", "q", -1, True)]
CHOICE = [response("c0", "x", None, False), response("c1", "x", None, True)]


def figures(*rewards: list[float]) -> object:
    rows = [
        row(one.response_id, said) for one, said in zip([*BENCH, *CHOICE], rewards, strict=True)
    ]
    return worth("kind", 1, BENCH, CHOICE, rows, 2)


def test_a_perfect_verifier_has_every_figure_at_its_best() -> None:
    made = figures([1, 0, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1])
    assert (made.f1, made.best_min, made.best_last) == (1.0, 1.0, 1.0)
    assert (made.calibration_error, made.brier, made.tokens) == (0.0, 0.0, 2.0)
    assert (made.pass_at_1, made.pass_at_n) == (0.5, 1.0)


def test_one_that_is_sure_and_wrong_has_every_figure_at_its_worst() -> None:
    made = figures([0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0])
    assert (made.f1, made.best_min, made.best_last) == (0.0, 0.0, 0.0)
    assert (made.calibration_error, made.brier) == (1.0, 1.0)


def test_steps_behind_the_first_error_are_nobodys_to_call() -> None:
    chances, right = step_chances(BENCH, {"w": [[0.9, 0.2, 0.7]], "r": [[0.8, 0.8, 0.8]]})
    assert chances.tolist() == [0.9, 0.2, 0.8, 0.8, 0.8]
    assert right.tolist() == [1, 0, 1, 1, 1]


def test_a_model_that_says_what_happens_is_calibrated_and_need_not_know_better() -> None:
    chances, right = np.full(10, 0.7), np.array([1.0] * 7 + [0.0] * 3)
    assert calibration_error(chances, right) == pytest.approx(0)
    assert calibration_error(np.full(10, 0.95), right) == pytest.approx(0.25)
    assert calibration_error(np.array([0.0, 1.0]), np.array([0.0, 1.0])) == 0


def test_one_seed_has_no_spread() -> None:
    assert spread([0.5]) == (0.5, 0.0)
    assert spread([0.4, 0.6]) == (0.5, pytest.approx(0.1414, abs=1e-4))
