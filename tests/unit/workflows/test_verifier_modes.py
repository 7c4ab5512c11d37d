"""Directions, probes and stopping rules against cases computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from demo import check, world
from storage.rows.records import Response
from workflows.evaluation import probes, stopping
from workflows.votes.rewards import solution_score

RESPONSE = Response("r", "p", "?", ["1 + 1 = 2.", "2 + 1 = 3.", "So 3."], "easy", -1, True, "3")


def test_reversing_turns_steps_and_label_round_and_twice_is_nothing() -> None:
    turned = probes.reversed_steps(replace(RESPONSE, label=0))
    assert (turned.steps[0], turned.label, turned.response_id) == ("So 3.", 2, "r#reversed")
    assert probes.reversed_steps(turned).steps == RESPONSE.steps
    assert probes.reversed_steps(turned).label == 0
    assert probes.reversed_steps(RESPONSE).label == -1


def test_both_directions_are_averaged_step_by_step() -> None:
    # backward was read last step first: 0.0 belongs to step 2, 0.5 to step 1, 1.0 to step 0
    assert probes.bidirectional([0.5, 0.7, 1.0], [0.0, 0.5, 1.0]) == pytest.approx([0.75, 0.6, 0.5])


def test_min_at_last_counts_solutions_whose_worst_step_is_the_last() -> None:
    assert probes.min_at_last([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.7]]) == 0.5
    assert probes.min_at_last([]) is None


def test_a_restyled_solution_claims_the_same() -> None:
    problem = next(world.sample(1, 3, "heldout"))
    steps = list(problem.reference_solution)
    styled = probes.restyled(replace(RESPONSE, steps=steps))
    assert styled.steps != steps and len(styled.steps) == len(steps)
    assert check.first_error(problem, styled.steps) is None
    assert probes.restyled(replace(RESPONSE, steps=steps)) == styled


def test_style_delta_is_the_mean_distance_over_twins() -> None:
    plain, styled = {"a": 0.9, "b": 0.2, "c": 1.0}, {"a": 0.7, "b": 0.3}
    assert probes.style_delta(plain, styled) == pytest.approx(0.15)
    assert probes.style_delta(plain, {}) == 0.0
    rewards = {"a": [1.0], "a#restyled": [0.25, 0.75]}
    found = probes.plain_scores(rewards, probes.RESTYLED, lambda each: solution_score(each, "mean"))
    assert found == {"a": 0.5}


def test_a_corruption_makes_exactly_the_step_it_names_wrong() -> None:
    for seed, problem in enumerate(world.sample(30, 4, "heldout")):
        steps = list(problem.reference_solution)
        spoiled = probes.corrupted(replace(RESPONSE, steps=steps), seed)
        assert spoiled is not None and spoiled.label is not None
        changed = [at for at, step in enumerate(steps) if spoiled.steps[at] != step]
        assert changed == [spoiled.label]
        assert check.first_error(problem, spoiled.steps) == spoiled.label, (seed, spoiled.steps)


def test_only_solutions_known_to_be_right_are_corrupted() -> None:
    assert probes.corrupted(replace(RESPONSE, label=1)) is None
    assert probes.corrupted(replace(RESPONSE, label=None)) is None
    assert probes.corrupted(replace(RESPONSE, steps=["No number."])) is None


def test_corruptions_are_caught_where_the_changed_step_falls_below_half() -> None:
    spoiled = [replace(RESPONSE, response_id=f"{name}#corrupted", label=1) for name in "ab"]
    before = {"a": [1.0, 0.9], "b": [1.0, 0.8]}
    after = {"a#corrupted": [1.0, 0.1], "b#corrupted": [0.2, 0.6]}
    caught, fall = probes.corruption_caught(spoiled, before, after)
    assert caught == 0.5
    assert fall == pytest.approx((0.8 + 0.2) / 2)
    assert probes.corruption_caught([], before, after) == (0.0, 0.0)


CANDIDATES = [[0.9, 0.2, 0.2], [0.8, 0.8, 0.8], [0.3, 0.9, 0.9, 0.9], [0.1]]


def test_early_rejection_keeps_the_best_beginnings_and_pays_for_those_alone() -> None:
    found = stopping.early_rejection(CANDIDATES, after=1, keep=0.5)
    # kept: the first two (0.9, 0.8); by min the second wins; 3 + 3 + 1 + 1 of 11 steps written
    assert (found.chosen, found.steps, found.all_steps) == (1, 8, 11)
    everything = stopping.early_rejection(CANDIDATES, after=1, keep=1.0)
    assert (everything.chosen, everything.steps) == (1, 11)


def test_early_rejection_can_lose_the_best_and_ties_go_to_the_first() -> None:
    assert stopping.early_rejection([[0.4, 1.0], [0.5, 0.5]], 1, 0.5, "last").chosen == 1
    assert stopping.early_rejection([[0.5, 0.5], [0.5, 0.5]], 1, 0.5).chosen == 0
    with pytest.raises(ValueError, match="keep"):
        stopping.early_rejection(CANDIDATES, 1, 0.0)


def test_reliability_is_that_of_a_beta_distribution_with_these_moments() -> None:
    # Beta(6, 2): mean 0.75, variance 6 * 2 / (8 * 8 * 9) = 1/48, so kappa = 8
    spread = math.sqrt(1 / 48)
    found = stopping.reliability([0.75 - spread, 0.75 + spread])
    assert found.mean == pytest.approx(0.75)
    assert found.concentration == pytest.approx(8)
    assert stopping.reliability([0.5, 0.5]).concentration == math.inf
    assert stopping.reliability([0.0, 1.0]).concentration == 0


def test_verification_stops_once_the_leader_is_high_and_sure() -> None:
    sure = [[0.9, 0.92, 0.1, 0.1], [0.2, 0.3, 0.9, 0.9]]
    found = stopping.reliable_choice(sure, high=0.8, sure=5)
    assert (found.chosen, found.verifications, found.all_verifications) == (0, 4, 8)
    unsure = [[1.0, 0.0, 0.5, 0.5], [0.4, 0.6, 0.9, 0.9]]
    assert stopping.reliable_choice(unsure, high=0.8, sure=5).verifications == 8
    with pytest.raises(ValueError, match="equally many"):
        stopping.reliable_choice([[0.5], [0.5, 0.5]], 0.5, 1)
