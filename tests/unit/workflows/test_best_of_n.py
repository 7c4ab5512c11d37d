"""Best-of-N against choices made by hand."""

from __future__ import annotations

import pytest

from storage.errors import InputError
from storage.rows.records import Response
from workflows.answers.grading import alike_now
from workflows.evaluation import best_of_n
from workflows.evaluation.best_of_n import Candidate
from workflows.settings import AnswerSettings


def candidate(answer: str | None, rewards: list[float] | None, right: str = "7") -> Candidate:
    return Candidate(answer, answer == right, rewards)


#      answer  rewards           min   last  mean   product
FOUR = [
    candidate("3", [0.9, 0.5]),  # .5   .5    .7     .45
    candidate("3", [0.6, 0.6]),  # .6   .6    .6     .36
    candidate("7", [0.4, 0.95]),  # .4   .95   .675   .38
    candidate("7", [0.3, 0.8]),  # .3   .8    .55    .24
]
CHOICES = [
    ("min", "argmax", 1), ("last", "argmax", 2), ("mean", "argmax", 0), ("product", "argmax", 0),
    # summed by answer: min 1.1 : 0.7, last 1.1 : 1.75, mean 1.3 : 1.225, product .81 : .62
    ("min", "vote", 0), ("last", "vote", 2), ("mean", "vote", 0), ("product", "vote", 0),
]  # fmt: skip


@pytest.mark.parametrize(("aggregate", "rule", "index"), CHOICES)
def test_every_aggregation_and_rule_chooses_as_by_hand(
    aggregate: best_of_n.Aggregate, rule: str, index: int
) -> None:
    scores = [best_of_n.candidate_score(each, aggregate) for each in FOUR]
    choose = best_of_n.argmax if rule == "argmax" else best_of_n.vote
    assert choose(FOUR, scores) is FOUR[index]
    found = best_of_n.best_of([FOUR], 4)
    assert found.chosen[aggregate, rule] == FOUR[index].correct


def test_ties_go_to_the_first_in_order() -> None:
    assert best_of_n.argmax(FOUR, [0.5, 0.7, 0.7, 0.1]) is FOUR[1]
    assert best_of_n.majority(FOUR) is FOUR[0]
    assert best_of_n.vote(FOUR, [0.1, 0.2, 0.3, 0.0]) is FOUR[0]


def test_spellings_of_one_answer_vote_together() -> None:
    spelled = [candidate("0.5", None), candidate(r"\frac{1}{3}", None), candidate("1/2", None)]
    assert best_of_n.majority(spelled) is spelled[0]


def test_answers_of_other_forms_vote_together() -> None:
    answers = [r"x \in [1,2]", r"\sin^2 x", r"1-\cos^2 x", "x^{1/3}x^{2/3}", "x"]
    rows = [
        Response(str(at), "p", "?", ["s"], "", None, None, answer)
        for at, answer in enumerate(answers)
    ]
    found = alike_now(rows, AnswerSettings())
    assert [row.answer for row in found] == [
        r"x \in [1,2]", r"\sin^2 x", r"\sin^2 x", "x^{1/3}x^{2/3}", "x^{1/3}x^{2/3}",
    ]  # fmt: skip


def test_a_solution_without_rewards_is_chosen_last_and_without_answer_does_not_vote() -> None:
    blank, poor = candidate("7", None), candidate("3", [0.0])
    assert best_of_n.argmax([blank, poor], [best_of_n.UNSCORED, 0.0]) is poor
    mute = [candidate(None, [0.9]), candidate(None, [0.9]), candidate("7", [0.1])]
    assert best_of_n.majority(mute) is mute[2]
    assert best_of_n.majority(mute[:2]) is mute[0]


def test_accuracies_are_means_over_chunks_and_then_over_problems() -> None:
    found = best_of_n.best_of([FOUR, FOUR[2:] + FOUR[2:]], 2)
    assert found.pass_at_1 == 0.75
    assert found.pass_at_n == 0.75  # first problem: one of its two chunks holds a right one
    assert found.majority == 0.75
    whole = best_of_n.best_of([FOUR, FOUR[2:] + FOUR[2:]], 4)
    assert (whole.pass_at_n, whole.majority, whole.problems) == (1.0, 0.5, 2)


def test_too_few_solutions_are_refused() -> None:
    with pytest.raises(InputError, match="needs 8 solutions per problem; one problem has 4"):
        best_of_n.best_of([FOUR], 8)


def test_unknown_correctness_is_refused() -> None:
    unknown = Response("r", "p", "?", ["s"], "")
    with pytest.raises(InputError, match="correct"):
        best_of_n.candidates_of([unknown], {})


def test_candidates_take_the_mean_over_their_histories() -> None:
    rows = [Response(f"r{i}", "p", "?", ["a", "b"], "", None, i == 0, "7") for i in range(2)]
    found = best_of_n.candidates_of(rows, {"r0": [[0.2, 0.4], None, [0.4, 0.8]]})
    assert [list(each.rewards or ()) for each in found["p"]] == [
        pytest.approx([0.3, 0.6]), []
    ]  # fmt: skip


@pytest.mark.parametrize(("n", "expected"), [(1, [1]), (8, [1, 2, 4, 8]), (6, [1, 2, 4, 6])])
def test_curves_go_by_powers_of_two(n: int, expected: list[int]) -> None:
    assert best_of_n.sizes(n) == expected
