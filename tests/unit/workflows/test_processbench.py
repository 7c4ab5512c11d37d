"""ProcessBench's F1, Pass@1 and Maj@N against cases computed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.errors import InputError
from storage.rows.records import Response
from workflows.evaluation import processbench
from workflows.evaluation.processbench import Judgement


def judged(*pairs: tuple[int, int | None], subset: str = "easy") -> list[Judgement]:
    return [Judgement(subset, label, predicted) for label, predicted in pairs]


HAND_COMPUTED = [
    # 1 of 2 errors found exactly, 3 of 4 right ones left alone: 2 * .5 * .75 / 1.25 = 0.6
    ([(2, 2), (1, 3), (-1, -1), (-1, -1), (-1, -1), (-1, 0)], 0.5, 0.75, 0.6),
    # everything called right: no error is found
    ([(0, -1), (4, -1), (-1, -1)], 0.0, 1.0, 0.0),
    # everything exact
    ([(0, 0), (4, 4), (-1, -1)], 1.0, 1.0, 1.0),
    # one off is wrong: labels are 0-based on both sides
    ([(1, 2), (1, 1), (-1, -1)], 0.5, 1.0, 2 / 3),
    # what could not be parsed is wrong in either class
    ([(1, None), (1, 1), (-1, None), (-1, -1)], 0.5, 0.5, 0.5),
]


@pytest.mark.parametrize(("pairs", "errors", "corrects", "f1"), HAND_COMPUTED)
def test_f1_is_the_harmonic_mean_of_both_accuracies(
    pairs: list[tuple[int, int | None]], errors: float, corrects: float, f1: float
) -> None:
    (subset,) = processbench.score(judged(*pairs)).subsets
    assert (subset.error_accuracy, subset.correct_accuracy) == (errors, corrects)
    assert subset.f1 == pytest.approx(f1)


DATA = Path(__file__).parents[2] / "data" / "processbench_scores.jsonl"
SCORED = [json.loads(line) for line in DATA.read_text().splitlines()]


@pytest.mark.parametrize("row", SCORED, ids=[row["subset"] for row in SCORED])
@pytest.mark.parametrize("how", ["first", "voted"])
def test_the_benchmarks_own_script_says_the_same_of_given_predictions(
    how: str, row: dict[str, Any]
) -> None:
    predicted = [
        votes[0] if how == "first" else processbench.majority_index(votes) for votes in row["votes"]
    ]
    pairs = zip(row["labels"], predicted, strict=True)
    (found,) = processbench.score(judged(*pairs, subset=row["subset"])).subsets
    ours = {"error": found.error_accuracy, "correct": found.correct_accuracy, "f1": found.f1}
    for name, share in ours.items():
        assert 100 * share == pytest.approx(row[how][name], rel=1e-14, abs=0), name


def test_the_average_is_over_subsets_not_over_solutions() -> None:
    large = judged(*[(0, 0), (-1, -1)] * 10, subset="large")
    small = judged((0, 1), (-1, -1), subset="small")
    found = processbench.score(large + small)
    assert [subset.f1 for subset in found.subsets] == [1.0, 0.0]
    assert found.f1 == 0.5


def test_the_papers_own_average_is_that_of_its_four_subsets() -> None:
    assert sum([78.7, 80.3, 72.2, 69.8]) / 4 == pytest.approx(75.25)


@pytest.mark.parametrize(("pairs", "lacking"), [([(-1, -1)], "erroneous"), ([(0, 0)], "correct")])
def test_a_subset_without_one_of_the_classes_is_refused(
    pairs: list[tuple[int, int | None]], lacking: str
) -> None:
    with pytest.raises(InputError, match=lacking):
        processbench.score(judged(*pairs))


def test_a_file_without_labels_is_refused() -> None:
    with pytest.raises(InputError, match="label"):
        processbench.score([])


def response(name: str, label: int | None, subset: str = "easy", correct: bool | None = None,
             steps: int = 2) -> Response:  # fmt: skip
    return Response(name, name, "p", ["s"] * steps, subset, label, correct)


RESPONSES = [response("wrong", 1), response("right", -1)]
HISTORIES = {
    # history 0 finds the error, history 1 does not; their mean (0.9, 0.45) does
    "wrong": [[0.9, 0.2], [0.9, 0.7]],
    # history 0 condemns step 0, history 1 does not; their mean (0.6, 0.9) does not
    "right": [[0.4, 0.9], [0.8, 0.9]],
}


def test_pass_at_1_is_the_mean_over_histories_and_maj_averages_rewards_first() -> None:
    first = processbench.maj_at(RESPONSES, HISTORIES, 1, 1)
    assert first.f1 == 0.0  # error found, but the right one condemned: 2 * 1 * 0 / 1
    each = processbench.maj_at(RESPONSES, HISTORIES, 1, 2)
    assert (each.subsets[0].error_accuracy, each.subsets[0].correct_accuracy) == (0.5, 0.5)
    assert each.f1 == 0.0  # mean of the two F1, not F1 of the means
    assert processbench.maj_at(RESPONSES, HISTORIES, 2, 2).f1 == 1.0


def test_a_reward_of_exactly_the_threshold_is_right() -> None:
    assert processbench.predict([[0.5, 0.49]]) == 1
    assert processbench.predict([[0.5, 0.5]]) == -1
    assert processbench.predict([[0.5, 0.6]], threshold=0.55) == 0


def test_a_missing_history_is_wrong_alone_and_left_out_of_a_mean() -> None:
    assert processbench.predict([None]) is None
    assert processbench.predict([None, [0.1]]) == 0
    found = processbench.judgements([response("gone", 0)], {}, range(2))
    assert [judgement.predicted for judgement in found] == [None]


def test_a_group_that_is_not_full_is_left_out() -> None:
    histories = {name: [*rows, [0.0, 0.0]] for name, rows in HISTORIES.items()}
    assert processbench.maj_at(RESPONSES, histories, 2, 3).f1 == 1.0


def test_majority_of_indices_takes_the_first_of_equals_and_ignores_the_unreadable() -> None:
    assert processbench.majority_index([2, -1, -1, None]) == -1
    assert processbench.majority_index([None, 3, 1]) == 3
    assert processbench.majority_index([None]) is None


def test_a_threshold_is_chosen_on_one_subset() -> None:
    responses = [response("a", 0), response("b", -1), response("c", 0, "other")]
    histories = {"a": [[0.55, 0.9]], "b": [[0.7, 0.9]], "c": [[0.1, 0.1]]}
    chosen = processbench.chosen_threshold(responses, histories, "easy", 1)
    assert chosen == pytest.approx(0.6)  # 0.6, 0.65 and 0.7 separate them; 0.6 is nearest 0.5
    with pytest.raises(InputError, match="easy, other"):
        processbench.chosen_threshold(responses, histories, "hard", 1)


def test_right_answers_by_a_wrong_process_are_counted_apart() -> None:
    responses = [
        response("seen", 1, correct=True),
        response("missed", 0, correct=True),
        response("wrong answer", 0, correct=False),
        response("right", -1, correct=True),
    ]
    histories = {"seen": [[0.1, 0.9]], "missed": [[0.9, 0.9]], "wrong answer": [[0.0, 0.0]]}
    assert processbench.right_answer_wrong_process(responses, histories, 1) == (2, 0.5)
    assert processbench.right_answer_wrong_process([], histories, 1) == (0, None)


def test_the_spread_is_that_of_accuracies_drawn_again() -> None:
    # 100 erroneous ones of which half are found, 100 right ones all left alone:
    # sd of the accuracy is sqrt(.25 / 100) = .05, and dF1/dacc = 2 / (1 + .5)^2 = .89
    responses = [response(f"w{i}", 0) for i in range(100)] + [
        response(f"r{i}", -1) for i in range(100)
    ]
    histories = {f"w{i}": [[0.1 if i % 2 else 0.9, 0.9]] for i in range(100)} | {
        f"r{i}": [[0.9, 0.9]] for i in range(100)
    }
    spread = processbench.f1_spread(responses, histories, 1, 1, draws=1000)
    assert spread == pytest.approx(0.05 * 8 / 9, rel=0.15)
    assert processbench.f1_spread(responses, histories, 1, 1, draws=1000) == spread
