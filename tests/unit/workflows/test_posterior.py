"""The chain: against enumeration, against the truth it was drawn from, and in its rules."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ConfigurationError, ItemError
from storage.rows.records import Path, PathLabels, StateRollouts
from tests.support.label_rows import path, rows
from workflows.estimation.chain_fit import fit
from workflows.estimation.posterior import (
    DEAD,
    GRID,
    Chain,
    Observed,
    StateCount,
    believe,
    believe_by_rule,
    evidence,
    table_of,
)
from workflows.estimation.smoothed import smooth
from workflows.labels.rule import is_right
from workflows.settings import LabelSettings
from workflows.stages.estimate import states
from workflows.stages.label import path_labels

RATIO = LabelSettings(estimate="posterior")
FORMS = [
    RATIO,
    LabelSettings(estimate="posterior", form="difference", threshold=-0.3),
    LabelSettings(estimate="posterior", form="hard", threshold=0),
    LabelSettings(estimate="posterior", form="soft", threshold=0.5),
]
G = len(GRID)


def some_chain(seed: int = 0, stay: float = 0.6) -> Chain:
    """A chain that mostly stays, with random moves; from death there is no way back."""
    rng = np.random.default_rng(seed)
    move = stay * np.eye(G) + (1 - stay) * rng.dirichlet(np.ones(G), G)
    move[:, DEAD] += 0.1
    move[DEAD] = np.eye(G)[DEAD]
    start = rng.dirichlet(np.ones(G))
    start[DEAD] = 0
    start /= start.sum()
    return Chain(start, move / move.sum(axis=1, keepdims=True))


def seen(*counts: tuple[int, int], correct: bool) -> Observed:
    """One path by its (c, n) per state."""
    made = {state: StateCount(n, c) for state, (c, n) in enumerate(counts) if n}
    return Observed.of([(len(counts), correct, made)])


def labels_of(one: Path, made: list[StateRollouts], chain: Chain) -> PathLabels:
    """The labels of a path that has no state in common with another."""
    smoothed = smooth([one], {one.path_id: made}, states, RATIO, chain)
    return path_labels(one, made, RATIO, 0.5, smoothed[one.path_id])


def drawn(chain: Chain, paths: int, n: int, seed: int) -> tuple[Observed, np.ndarray]:
    """Paths of a chain with n rollouts per state, and the points they really went through."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(2, 9, paths)
    points = np.zeros((paths, int(steps.max())), dtype=np.int64)
    points[:, 0] = rng.choice(G, paths, p=chain.start)
    for t in range(1, points.shape[1]):
        points[:, t] = [rng.choice(G, p=chain.move[point]) for point in points[:, t - 1]]
    within = np.arange(points.shape[1]) < steps[:, None]
    made = np.where(within, n, 0)
    c = rng.binomial(made, GRID[points])
    correct = rng.random(paths) < GRID[points[np.arange(paths), steps - 1]]
    return Observed(made, c, steps, correct), points


@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize("settings", FORMS, ids=lambda settings: settings.form)
def test_beliefs_equal_enumeration_over_all_ways_through_the_grid(
    correct: bool, settings: LabelSettings
) -> None:
    chain, observed = some_chain(), seen((5, 8), (2, 8), (0, 4), correct=correct)
    told = evidence(observed)[0]
    joint = (
        (chain.start * told[0])[:, None, None]
        * chain.move[:, :, None]
        * told[1][None, :, None]
        * chain.move[None, :, :]
        * told[2][None, None, :]
    )
    joint /= joint.sum()
    found = believe(chain, observed)
    for state, others in enumerate([(1, 2), (0, 2), (0, 1)]):
        np.testing.assert_allclose(found.state[0, state], joint.sum(axis=others), atol=1e-12)
    table = table_of(settings)
    right = found.right(settings)[0]
    assert right[0] == pytest.approx((joint.sum(axis=2) * table.right).sum())
    assert right[1] == pytest.approx((joint.sum(axis=0) * table.right).sum())
    assert right[2] == pytest.approx((joint.sum(axis=(0, 1)) * table.end_right[int(correct)]).sum())


def test_branches_of_a_tree_are_believed_as_the_sum_over_all_its_states() -> None:
    chain = some_chain()
    root, shared = StateCount(8, 5), StateCount(8, 3)
    paths = [
        (3, True, {0: root, 1: shared, 2: StateCount(8, 6)}),
        (3, False, {0: root, 1: shared, 2: StateCount(4, 0)}),
        (2, False, {0: root, 1: StateCount(8, 1)}),
    ]
    found = believe(chain, Observed.of(paths, [["r", "x", "a"], ["r", "x", "b"], ["r", "z"]]))
    told = evidence(Observed.of(paths))
    joint = ("r,rx,x,xa,a,xb,b,rz,z", chain.start * told[0, 0], chain.move, told[0, 1], chain.move,
             told[0, 2], chain.move, told[1, 2], chain.move, told[2, 1])  # fmt: skip

    def summed(kept: str) -> np.ndarray:
        whole = np.einsum(f"{joint[0]}->{kept}", *joint[1:], optimize=True)
        return np.asarray(whole / whole.sum())

    for row, state, name in ((0, 0, "r"), (2, 0, "r"), (1, 1, "x"), (0, 2, "a"), (2, 1, "z")):
        np.testing.assert_allclose(found.state[row, state], summed(name), atol=1e-9)
    right = found.right(RATIO)
    table = table_of(RATIO).right
    assert right[0, 0] == right[1, 0] == pytest.approx((summed("rx") * table).sum())
    assert right[1, 1] == pytest.approx((summed("xb") * table).sum())
    apart = believe(chain, Observed.of(paths))
    assert abs(apart.right(RATIO)[1, 0] - right[1, 0]) > 1e-3, "branches say something"


def test_a_state_in_common_has_the_counts_of_the_path_with_most_rollouts_and_ends_both() -> None:
    few, many = {0: StateCount(8, 8), 1: StateCount(2, 0)}, {0: StateCount(8, 8)}
    many |= {1: StateCount(32, 0), 2: StateCount(4, 4)}
    names = [["r", "x", "a"], ["r", "x", "b"]]
    paths = [(3, True, few), (3, False, many)]
    for order in (paths[::-1], paths):
        observed = Observed.of(order, names)
        assert (observed.n[:, 1] == 32).all() and (observed.c[:, 1] == 0).all()
    sure = some_chain()
    sure.start[:] = np.eye(G)[-1]
    sure.move[1:] = 0
    sure.move[1:, DEAD], sure.move[1:, -1] = 0.6, 0.4
    found = believe_by_rule(sure, observed)
    assert found.dead[:, 1] == pytest.approx([1, 1]), "rollouts of later states don't revive it"


def test_paths_read_together_and_alone_are_believed_the_same() -> None:
    chain = some_chain()
    many, _ = drawn(chain, 30, 6, seed=1)
    together = believe(chain, many)
    for row in range(30):
        steps = int(many.steps[row])
        made = {t: StateCount(int(many.n[row, t]), int(many.c[row, t])) for t in range(steps)}
        alone = believe(chain, Observed.of([(steps, bool(many.correct[row]), made)]))
        np.testing.assert_allclose(alone.state[0], together.state[row, :steps], atol=1e-12)
        np.testing.assert_allclose(
            alone.right(RATIO)[0], together.right(RATIO)[row, :steps], atol=1e-12
        )


counts = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)).map(sorted), min_size=1)


@given(counts, st.booleans(), st.sampled_from(FORMS))
def test_death_is_final_and_the_median_says_what_the_chance_says(
    pairs: Sequence[tuple[int, int]], correct: bool, settings: LabelSettings
) -> None:
    found = believe(some_chain(), seen(*pairs, correct=correct))
    dead = found.dead[0]
    assert (np.diff(dead) > -1e-9).all()
    assert not correct or dead[-1] == 0
    right = found.right(settings)[0]
    for chance, value in zip(right, found.median_value(0, settings), strict=True):
        if settings.form == "ratio" and abs(chance - 0.5) > 1e-9:
            assert is_right(value, settings) == (chance >= 0.5)
        elif chance > 0.5 + 1e-9:  # other forms call a death right that the zero rule does not
            assert is_right(value, settings)


def test_a_right_end_and_later_successes_bring_an_unlucky_state_back_to_life() -> None:
    chain = some_chain(stay=0.9)
    unlucky = seen((4, 8), (0, 8), (0, 0), correct=False)
    lucky_end = seen((4, 8), (0, 8), (0, 0), correct=True)
    later = seen((4, 8), (0, 8), (3, 8), correct=False)
    assert believe(chain, unlucky).dead[0, 1] > 0.5
    assert believe(chain, lucky_end).dead[0, 1] == 0
    assert believe(chain, later).dead[0, 1] == 0


def test_by_the_rule_neither_end_nor_later_states_bring_a_complete_state_without_success_back() -> (
    None
):
    chain, complete = some_chain(stay=0.9), np.array([64])
    ended = seen((40, 64), (0, 64), (64, 64), (64, 64), correct=True)
    found = believe_by_rule(chain, ended, complete)
    assert believe(chain, ended).dead[0, 1] == 0
    assert (found.dead[0] > 1 - 1e-9).tolist() == [False, True, True, True]
    assert (found.right(RATIO)[0] < 1e-9).tolist() == [True] * 4
    assert found.median_value(0, RATIO)[1:] == [0.0, 0.0, 0.0]
    few = seen((40, 64), (0, 8), (64, 64), (64, 64), correct=True)
    assert believe_by_rule(chain, few, complete).dead[0, 1] == 0
    assert believe_by_rule(chain, few).dead[0, 1] == pytest.approx(1)
    weak = Chain(np.eye(G)[1], chain.move)
    doubted = seen((1, 64), (0, 1), (64, 64), correct=True)
    assert believe_by_rule(weak, doubted).dead[0, 1] == 0, "one rollout of a weak state says little"


def test_em_finds_the_labels_of_the_chain_that_made_the_paths() -> None:
    truth = some_chain(seed=3, stay=0.8)
    pilot, _ = drawn(truth, 300, 64, seed=4)
    fitted = fit(pilot)
    np.testing.assert_allclose(fitted.move.sum(axis=1), 1)
    np.testing.assert_allclose(fitted.move[DEAD], np.eye(G)[DEAD])
    fresh, points = drawn(truth, 1000, 8, seed=5)
    labels = table_of(RATIO).right[points[:, :-1], points[:, 1:]]
    within = np.arange(labels.shape[1]) < (fresh.steps - 1)[:, None]

    def error(chain: Chain) -> float:
        said = believe(chain, fresh).right(RATIO)[:, :-1] >= 0.5
        return float((said != labels)[within].mean())

    blind = Chain(np.full(G, 1 / G), some_chain(seed=9, stay=0.1).move)
    print(f"error: truth {error(truth):.3f}, fitted {error(fitted):.3f}, blind {error(blind):.3f}")
    assert error(fitted) <= error(truth) + 0.01
    assert error(fitted) < error(blind) - 0.02


def test_a_chance_of_error_is_kept() -> None:
    """Of labels believed wrong with chance e, a share of about e is wrong."""
    truth = some_chain(seed=6, stay=0.7)
    fresh, points = drawn(truth, 4000, 8, seed=7)
    labels = table_of(RATIO).right[points[:, :-1], points[:, 1:]]
    within = np.arange(labels.shape[1]) < (fresh.steps - 1)[:, None]
    beliefs = believe(truth, fresh)
    right, error = beliefs.right(RATIO)[:, :-1], beliefs.error(RATIO)[:, :-1]
    wrong = ((right >= 0.5) != labels)[within]
    for low, high in ((0, 0.1), (0.1, 0.25), (0.25, 0.5)):
        chosen = (error[within] >= low) & (error[within] < high)
        said, was = error[within][chosen].mean(), wrong[chosen].mean()
        print(f"error {low}-{high}: said {said:.3f}, was {was:.3f}, {chosen.sum()} labels")
        assert was == pytest.approx(said, abs=0.02)


def test_fitting_twice_gives_the_same_chain() -> None:
    pilot, _ = drawn(some_chain(), 50, 16, seed=2)
    first, second = fit(pilot), fit(pilot)
    assert (first.move == second.move).all()
    assert (first.start == second.start).all()


def test_a_path_costs_microseconds() -> None:
    chain = some_chain()
    many, _ = drawn(chain, 2000, 8, seed=8)
    started = time.process_time()
    believe(chain, many).right(RATIO)
    spent = time.process_time() - started
    print(f"{1e6 * spent / 2000:.0f} CPU microseconds a path")
    assert spent < 2000 * 500e-6


def test_with_many_rollouts_posteriors_and_counts_label_alike() -> None:
    pilot, _ = drawn(some_chain(), 100, 32, seed=2)
    chain = fit(pilot)
    for made, correct in (
        ([800, 790, 200, 210], False),
        ([300, 800, 900, 980], True),
        ([990, 500, 100, 0], False),
    ):
        measured = rows([(c, 1000) for c in made])
        by_counts = path_labels(path(4, correct), measured, LabelSettings(), 0.5)
        smoothed = labels_of(path(4, correct), measured, chain)
        assert smoothed.labels == by_counts.labels
        assert smoothed.mc == pytest.approx(by_counts.mc, abs=0.05)
        assert smoothed.value == pytest.approx(by_counts.value, abs=0.4)
        assert smoothed.n == [1000] * 4 + [0]
        assert smoothed.first_error == by_counts.first_error


def test_states_without_rollouts_need_a_reason() -> None:
    chain = fit(drawn(some_chain(), 100, 32, seed=2)[0])
    stopped = labels_of(path(4, False), rows([(8, 32), (0, 32)], "exact_zero_stop"), chain)
    assert (stopped.labels, stopped.mc[1:]) == ([False] * 4, [0.0] * 4)
    for measured in (
        rows([(8, 32), (2, 32)], "exact_zero_stop"),
        rows([(8, 32), (2, 32)], "two_round"),
        rows([(8, 32), (0, 32)], "exact"),
    ):
        with pytest.raises(ItemError, match="rollouts_missing"):
            labels_of(path(4, False), measured, chain)


@pytest.mark.parametrize(
    ("settings", "rule", "message"),
    [
        pytest.param(LabelSettings(), "two_round", "by counts", id="counts_of_two_round"),
        pytest.param(LabelSettings(), "adaptive", "by counts", id="counts_of_adaptive"),
        pytest.param(LabelSettings(), "first_success", "'ratio'", id="ratio_of_first_success"),
        pytest.param(RATIO, "first_success", "posterior", id="posterior_of_first_success"),
        pytest.param(
            LabelSettings(form="hard", threshold=0.5), "first_success", "only 0", id="hard_at_half"
        ),
        pytest.param(
            LabelSettings(form="hard", threshold=0, after_first_zero="keep"), "first_success",
            "keep", id="first_success_stops_at_zero",
        ),
        pytest.param(
            LabelSettings(estimate="posterior", after_first_zero="keep"), "exact", "never leaves",
            id="keep_by_posterior",
        ),
    ],
)  # fmt: skip
def test_labels_that_the_rollouts_do_not_support_are_refused_with_the_reason(
    settings: LabelSettings, rule: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        path_labels(path(2, True), rows([(4, 8), (4, 8)], rule), settings, 0.5)


def test_hard_labels_of_rows_that_stopped_at_the_first_success() -> None:
    settings = LabelSettings(form="hard", threshold=0)
    made = rows([(9, 32), (1, 8), (2, 8), (0, 32)], "first_success")
    assert path_labels(path(5, False), made, settings, 0.5).labels == [True, True] + [False] * 3
