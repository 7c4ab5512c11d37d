"""The K rule and the budgets."""

from __future__ import annotations

import pytest

from workflows.estimation.contract import Count, Want
from workflows.estimation.fixed import FixedBudget, monte_carlo, rollouts_per_state
from workflows.settings import EstimateSettings

PAPER = EstimateSettings()


@pytest.mark.parametrize(
    ("mc_1", "k"),
    [(0.0, 128), (0.0999, 128), (0.1, 64), (0.5, 64), (0.8999, 64), (0.9, 32), (1.0, 32)],
)
def test_k_by_the_papers_half_open_intervals(mc_1: float, k: int) -> None:
    assert rollouts_per_state(mc_1, PAPER) == k


def test_equation_7() -> None:
    assert monte_carlo(3, 8) == 0.375


@pytest.mark.parametrize(("c", "n"), [(0, 0), (5, 4), (-1, 4)])
def test_counts_that_no_rollouts_can_give_are_refused(c: int, n: int) -> None:
    with pytest.raises(ValueError, match="rollouts"):
        monte_carlo(c, n)


@pytest.mark.parametrize(
    ("budget", "counts", "wants"),
    [
        pytest.param("exact", {0: 3}, [1, 2, 3], id="exact_asks_for_everything_at_once"),
        pytest.param("exact", {0: 3, 1: 0, 2: 0, 3: 0}, [], id="exact_ends"),
        pytest.param("exact_zero_stop", {0: 3}, [1], id="left_to_right"),
        pytest.param("exact_zero_stop", {0: 3, 1: 2}, [2], id="one_state_at_a_time"),
        pytest.param("exact_zero_stop", {0: 3, 1: 0}, [], id="none_after_the_first_zero"),
        pytest.param("exact_zero_stop", {0: 0}, [], id="zero_at_the_start"),
        pytest.param("exact_zero_stop", {0: 3, 1: 2, 2: 1, 3: 1}, [], id="last_state_graded"),
    ],
)
def test_a_fixed_budget_asks_for_the_states_it_lacks(
    budget: str, counts: dict[int, int], wants: list[int]
) -> None:
    rule = FixedBudget(EstimateSettings(mc_budget=budget))  # type: ignore[arg-type]
    seen = {state: Count(8, c) for state, c in counts.items()}
    assert list(rule.wants(4, 8, seen)) == [Want(state, 8) for state in wants]


def test_the_probe_is_a_setting_and_k_comes_from_its_counts() -> None:
    rule = FixedBudget(EstimateSettings(probe=10))
    assert rule.probe == 10
    assert rule.per_state(Count(10, 0)) == 128
    assert rule.per_state(Count(10, 9)) == 32
