"""Budgets: what they ask for, and what is refused before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from storage.errors import ConfigurationError
from tests.support.label_rows import pilot
from workflows.estimation.budgets import (
    FirstSuccess,
    PosteriorBudget,
    budget_of,
    check_budget,
    delta_of,
)
from workflows.estimation.chain_fit import fit
from workflows.estimation.contract import Count, RolloutBudget
from workflows.estimation.replay import Outcomes, allocated
from workflows.settings import EstimateSettings, LabelSettings

POSTERIOR = LabelSettings(estimate="posterior")
HARD = LabelSettings(form="hard", threshold=0)
CHAIN = fit(pilot())


def budget(kind: str, **change: Any) -> RolloutBudget:
    settings = EstimateSettings(mc_budget=kind, pilot="p", **change)  # type: ignore[arg-type]
    return budget_of(settings, HARD if kind == "first_success" else POSTERIOR, CHAIN)


def counts(*made: tuple[int, int]) -> dict[int, Count]:
    """State -> Count from (c, n) per state."""
    return {state: Count(n, c) for state, (c, n) in enumerate(made)}


@pytest.mark.parametrize(
    ("kind", "first"), [pytest.param("two_round", 8), pytest.param("adaptive", 8)]
)
def test_states_are_entered_from_left_to_right_with_few_rollouts(kind: str, first: int) -> None:
    rule = budget(kind)
    assert list(rule.wants(3, 32, counts((29, 32)), True)) == [(1, first)]
    assert list(rule.wants(3, 32, counts((29, 32), (8, 8)), True)) == [(2, first)]


@pytest.mark.parametrize("kind", ["two_round", "adaptive"])
def test_a_path_whose_labels_are_clear_gets_no_more(kind: str) -> None:
    assert not budget(kind).wants(3, 32, counts((29, 32), (8, 8), (8, 8)), True)


@pytest.mark.parametrize("kind", ["two_round", "adaptive"])
def test_nothing_is_rolled_out_after_a_state_that_is_certainly_dead(kind: str) -> None:
    assert not budget(kind).wants(4, 32, counts((29, 32), (0, 32)), False)


@pytest.mark.parametrize(("kind", "more"), [("two_round", 24), ("adaptive", 8)])
@pytest.mark.parametrize("correct", [True, False])
def test_a_state_that_looks_dead_is_complete_before_a_path_goes_on(
    kind: str, more: int, correct: bool
) -> None:
    """A right end can't make a path live that no rollout of the completion model survives."""
    rule = budget(kind)
    made = [(20, 32), (0, 8)]
    while wants := rule.wants(4, 32, counts(*made), correct):
        assert list(wants) == [(1, more)]
        made[1] = (0, made[1][1] + more)
    assert made[1][1] == 32 or not correct, "a wrong end says more"


@pytest.mark.parametrize(("kind", "more"), [("two_round", 24), ("adaptive", 8)])
def test_an_uncertain_label_has_the_state_topped_up_that_is_known_worse(
    kind: str, more: int
) -> None:
    asked = list(budget(kind).wants(3, 32, counts((20, 32), (4, 8), (2, 8)), False))
    assert asked
    assert {n for _, n in asked} == {more}
    assert {state for state, _ in asked} <= {1, 2}, "state 0 has its K already"


def played(rule: RolloutBudget, q: Sequence[float], k: int, correct: bool, seed: int) -> Any:
    """(rollouts per state, turns) of one path until its budget is content."""
    rng = np.random.default_rng(seed)
    made = {0: Count(k, int(rng.binomial(k, q[0])))}
    turns = 0
    while wants := rule.wants(len(q), k, made, correct):
        turns += 1
        for state, n in wants:
            before = made.get(state, Count(0, 0))
            made[state] = Count(before.n + n, before.c + int(rng.binomial(n, q[state])))
        assert turns < 1000
    return [made.get(state, Count(0, 0)).n for state in range(len(q))], turns


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("correct", [True, False])
def test_every_budget_ends_and_no_state_exceeds_its_cap(seed: int, correct: bool) -> None:
    rng = np.random.default_rng(seed)
    q = rng.choice([0.02, 0.2, 0.5, 0.9], rng.integers(2, 9))
    for rule, most in (
        (budget("two_round"), 64),
        (budget("two_round", delta=0.0), 64),
        (budget("adaptive"), 64),
        (budget("adaptive", cap=2.0, delta=0.01), 128),
        (budget("adaptive", cap=0.5), 64),
        (budget("first_success"), 64),
    ):
        n, _ = played(rule, q.tolist(), 64, correct, seed)
        assert max(n) <= most, (rule.stop_rule, seed)


def test_a_budget_asks_about_one_path_what_the_replay_decides_for_many() -> None:
    rng = np.random.default_rng(1)
    hits = rng.random((40, 6, 64)) < rng.choice([0.05, 0.4, 0.8], (40, 6, 1))
    outcomes = Outcomes.of(hits, np.full(40, 6), rng.random(40) < 0.5)
    for kind in ("two_round", "adaptive"):
        settings = EstimateSettings(mc_budget=kind, pilot="p")  # type: ignore[arg-type]
        k = np.full(40, 64)
        many = allocated(outcomes, k, CHAIN, settings, POSTERIOR).seen.n
        rule = PosteriorBudget(settings, POSTERIOR, CHAIN)
        for row in range(40):
            n = {0: 64}
            right = outcomes.right[row]
            correct = bool(outcomes.correct[row])
            while wants := rule.wants(
                6, 64, {s: Count(m, int(right[s, m])) for s, m in n.items()}, correct
            ):
                for state, more in wants:
                    n[state] = n.get(state, 0) + more
            assert [n.get(state, 0) for state in range(6)] == many[row].tolist()


@pytest.mark.parametrize(
    ("made", "wants"),
    [
        pytest.param([(3, 32)], [(1, 8)], id="enters_the_next_state"),
        pytest.param([(3, 32), (0, 8)], [(1, 8)], id="goes_on_without_success"),
        pytest.param([(3, 32), (0, 16), ], [(1, 4)], id="up_to_k"),
        pytest.param([(3, 32), (1, 8)], [(2, 8)], id="next_after_the_first_success"),
        pytest.param([(3, 32), (0, 20)], [], id="none_after_a_state_without_success"),
        pytest.param([(3, 32), (1, 8), (2, 8)], [], id="last_state_graded"),
    ],
)  # fmt: skip
def test_first_success_goes_on_until_one_rollout_is_right(
    made: list[tuple[int, int]], wants: list[tuple[int, int]]
) -> None:
    rule = FirstSuccess(EstimateSettings(mc_budget="first_success"))
    assert list(rule.wants(3, 20, counts(*made), True)) == wants


REFUSED = [
    pytest.param(EstimateSettings(mc_budget="two_round", pilot="p"), LabelSettings(),
                 "estimate: posterior", id="two_round_by_counts"),
    pytest.param(EstimateSettings(mc_budget="adaptive"), POSTERIOR, "estimate.pilot",
                 id="no_pilot"),
    pytest.param(EstimateSettings(), POSTERIOR, "estimate.pilot", id="posterior_of_exact"),
    pytest.param(EstimateSettings(mc_budget="first_success"), LabelSettings(), "form: hard",
                 id="ratio_of_first_success"),
    pytest.param(EstimateSettings(mc_budget="first_success"), replace(HARD, threshold=0.5),
                 "threshold: 0", id="hard_above_half"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "labels", "message"), REFUSED)
def test_a_budget_that_cannot_give_the_labels_is_refused_before_any_work(
    settings: EstimateSettings, labels: LabelSettings, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_budget(settings, labels)


def test_settings_that_fit_are_not_refused() -> None:
    check_budget(EstimateSettings(), LabelSettings())
    check_budget(EstimateSettings(mc_budget="first_success"), HARD)
    for kind in ("exact", "exact_zero_stop", "two_round", "adaptive"):
        check_budget(
            EstimateSettings(mc_budget=kind, pilot="p"),  # type: ignore[arg-type]
            POSTERIOR,
        )
    assert delta_of(EstimateSettings(mc_budget="adaptive")) == 0.1
    assert delta_of(EstimateSettings(mc_budget="two_round", delta=0.02)) == 0.02
