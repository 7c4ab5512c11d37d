"""Rewards against cases worked out by hand."""

from __future__ import annotations

import math
from itertools import product

import pytest

from storage.errors import ItemError
from workflows.votes.rewards import averaged, first_error_index, reward_at, solution_score


def top(**chances: float) -> list[tuple[str, float]]:
    return [(token, math.log(chance)) for token, chance in chances.items()]


@pytest.mark.parametrize(
    ("chances", "reward"),
    [
        pytest.param({"Yes": 0.6, "No": 0.2, "x": 0.1}, 0.75, id="both are there"),
        pytest.param({"Yes": 0.9, "x": 0.05, "y": 0.02}, 0.9 / 0.92, id="No gets the smallest"),
        pytest.param({"Yes": 0.6, "x": 0.3}, 0.6 / 0.7, id="No gets what is left, if that is less"),
        pytest.param({"No": 1.0}, 0.0, id="nothing is left for Yes"),
        pytest.param({"Yes": 1.0}, 1.0, id="nothing is left for No"),
        pytest.param({"No": 0.5, "no": 0.5}, 0.0, id="other spellings are other tokens"),
    ],
)
def test_a_reward_is_the_share_of_yes(chances: dict[str, float], reward: float) -> None:
    assert reward_at(top(**chances)) == pytest.approx(reward)


def test_a_reward_is_a_share_whatever_the_numbers() -> None:
    for yes, no, other in product((1e-30, 0.2, 0.5), repeat=3):
        assert 0 <= reward_at(top(Yes=yes, No=no, x=other)) <= 1


@pytest.mark.parametrize("chances", [{}, {"Maybe": 0.7, "yes": 0.2}])
def test_a_position_without_either_word_is_no_verdict(chances: dict[str, float]) -> None:
    with pytest.raises(ItemError, match="no_verdict"):
        reward_at(top(**chances))


def test_histories_are_averaged_step_by_step_and_not_voted() -> None:
    rewards = averaged([[1.0, 0.45], [1.0, 0.45], [0.4, 0.9]])
    assert rewards == pytest.approx([0.8, 0.6])
    assert first_error_index(rewards) == -1, "two of three votes against the second step do not win"


def test_a_step_is_averaged_over_the_histories_that_judged_it() -> None:
    assert averaged([[0.1], [0.3, 0.2]]) == pytest.approx([0.2, 0.2])


def test_no_history_has_no_mean() -> None:
    with pytest.raises(ValueError, match="no history"):
        averaged([])


@pytest.mark.parametrize(
    ("rewards", "index"),
    [([0.9, 0.5, 0.6], -1), ([0.9, 0.49, 0.1], 1), ([0.0], 0), ([0.5], -1), ([], -1)],
)
def test_the_first_step_below_one_half_is_the_first_error(rewards: list[float], index: int) -> None:
    assert first_error_index(rewards) == index


def test_a_solution_has_four_scores() -> None:
    rewards = [0.5, 0.8, 0.4, 1.0]
    found = {name: solution_score(rewards, name) for name in ("min", "last", "mean", "product")}
    assert found == pytest.approx({"min": 0.4, "last": 1.0, "mean": 0.675, "product": 0.16})
    with pytest.raises(ValueError):
        solution_score([], "min")
