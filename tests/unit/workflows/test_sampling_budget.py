"""The sampling budget: its formula by hand, its limits, and quota filled against a blind cap."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.rows.records import Path
from tests.support.label_rows import path
from workflows.sampling.knapsack import (
    SamplingBudget,
    Tally,
    expected_gain,
    is_hopeless,
    is_open,
    plan,
    split,
)
from workflows.sampling.quota import allocation
from workflows.sampling.rounds import Rounds
from workflows.settings import SampleSettings

BUDGET = SamplingBudget()
FLAT = SamplingBudget(right=1, wrong=1, prior=(1.0, 1.0, 0.0))
tallies = st.lists(
    st.builds(Tally, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), max_size=12
)


def test_the_expected_gain_by_hand() -> None:
    """Beta(1, 1): P(no right one of n) = 1 / (n + 1), so one missing path gains n / (n + 1)."""
    for n in (1, 2, 9):
        assert expected_gain(Tally(), n, FLAT) == pytest.approx(2 * n / (n + 1))
    assert expected_gain(Tally(right=1), 1, FLAT) == pytest.approx(1 / 3), "Beta(1, 2) of wrong"
    two = SamplingBudget(right=2, wrong=0, prior=(1.0, 1.0, 0.0))
    assert expected_gain(Tally(), 2, two) == pytest.approx(1.0), "X is uniform on 0, 1, 2"
    assert expected_gain(Tally(right=4, wrong=4), 100, BUDGET) == 0


def test_the_formula_agrees_with_drawing() -> None:
    print("seed 0")
    rng = np.random.default_rng(0)
    tally, n = Tally(right=1, wrong=20, other=4), 48
    share = rng.beta(1 + 0.4, 24 + 0.6, 200_000)
    drawn = np.minimum(rng.binomial(n, share), 3).mean()
    assert expected_gain(tally, n, BUDGET) == pytest.approx(drawn, rel=0.01)


@given(tallies, st.integers(0, 500))
def test_no_more_is_planned_than_is_left_and_nothing_for_a_full_problem(
    given_tallies: list[Tally], left: int
) -> None:
    asked = plan(given_tallies, left, BUDGET)
    shares = split(given_tallies, left, BUDGET)
    assert sum(asked) <= left and sum(shares) <= left
    for tally, batch, share in zip(given_tallies, asked, shares, strict=True):
        assert batch <= min(share, BUDGET.round)
        assert share == 0 or is_open(tally, BUDGET)


@given(tallies)
def test_each_further_batch_gains_less(given_tallies: list[Tally]) -> None:
    for tally in given_tallies:
        gains = [expected_gain(tally, n, BUDGET) for n in range(0, 200, 16)]
        assert all(np.diff(gains) >= -1e-9)
        assert all(np.diff(gains, 2) <= 1e-9)


def test_samples_go_where_they_fill_most() -> None:
    nearly, rare, full = Tally(4, 3, 0), Tally(30, 0, 2), Tally(4, 4, 0)
    assert split([nearly, rare, full], 16, BUDGET) == [16, 0, 0]
    assert split([full], 100, BUDGET) == [0]


def test_a_problem_is_given_up_once_its_missing_class_will_hardly_show() -> None:
    budget = SamplingBudget(cap=256)
    assert not is_hopeless(Tally(right=32), budget)
    assert is_hopeless(Tally(right=250), budget), "six samples are left"
    assert not is_hopeless(Tally(right=250, wrong=1), budget), "it was seen"
    assert not is_open(Tally(right=250), budget)


def blind(p: np.ndarray, cap: int, first: int, rng: np.random.Generator) -> tuple[int, int]:
    """(filled, samples) of the blind cap: rounds until both classes are full or the cap is met."""
    filled = samples = 0
    for share in p:
        right = wrong = made = 0
        while made < cap and (right < 4 or wrong < 4):
            batch = min(16 if made else first, cap - made)
            hits = int(rng.binomial(batch, share))
            right, wrong, made = right + hits, wrong + batch - hits, made + batch
        filled += min(right, 4) + min(wrong, 4)
        samples += made
    return filled, samples


def planned(p: np.ndarray, left: int, rng: np.random.Generator) -> tuple[int, int]:
    """(filled, samples) of the plan: every problem is tried 32 times, then by gain."""
    made = [Tally() for _ in p]
    spent, asked = 0, [32] * len(p)
    while sum(asked):
        for index, batch in enumerate(asked):
            hits = int(rng.binomial(batch, p[index]))
            old = made[index]
            made[index] = Tally(old.right + hits, old.wrong + batch - hits)
        spent += sum(asked)
        asked = plan(made, left - spent, BUDGET)
    return sum(min(t.right, 4) + min(t.wrong, 4) for t in made), spent


@pytest.mark.parametrize("cap", [64, 128, 512])
@pytest.mark.parametrize(
    ("world", "a", "b"), [("hard", 0.3, 1.2), ("mixed", 0.5, 0.5), ("easy", 1.5, 0.3)]
)
def test_the_plan_fills_more_quota_than_a_blind_cap_at_equal_samples(
    world: str, a: float, b: float, cap: int
) -> None:
    rng = np.random.default_rng(cap)
    p = rng.beta(a, b, 300)
    filled, samples = blind(p, cap, 32, rng)
    ours, spent = planned(p, samples, rng)
    print(f"{world}, cap {cap}, seed {cap}: {filled} of 2400 with {samples}, {ours} with {spent}")
    assert spent <= samples
    assert ours >= filled


def drawn(problem: str, right: int, wrong: int) -> list[Path]:
    """Paths of a problem, all different."""
    return [
        replace(path(2, index < right, problem_id=problem, index=index), text=f"{index}")
        for index in range(right + wrong)
    ]


def test_a_shard_draws_first_rounds_then_what_fills_most_and_never_more_than_it_has() -> None:
    settings = SampleSettings(
        budget="knapsack", first_round=8, round=4, per_problem=20, correct=2, incorrect=2, cap=200
    )
    asks = allocation(settings)
    assert asks is not None
    assert asks([[], [], []]) == [8, 8, 8]
    full, near, hard = drawn("a", 4, 4), drawn("b", 7, 1), drawn("c", 0, 8)
    asked = asks([full, near, hard])
    assert asked[0] == 0
    assert 0 < asked[1] <= 4
    spent = [full, near, drawn("c", 0, 44)]
    assert sum(asks(spent)) == 0, "3 x 20 samples are drawn"
    assert allocation(SampleSettings()) is None


async def test_problems_wait_for_one_another_so_that_who_is_faster_decides_nothing() -> None:
    grown: list[list[Path]] = [[], []]
    seen: list[list[int]] = []

    def allocate(paths: Sequence[Sequence[Path]]) -> list[int]:
        seen.append([len(each) for each in paths])
        return [2 * (len(paths[0]) < 2), 3 * (len(paths[1]) < 6)]

    rounds = Rounds(allocate, grown)

    async def one(number: int, pause: int) -> None:
        while size := await rounds.next(number):
            for _ in range(pause):
                await asyncio.sleep(0)
            grown[number] += drawn("p", size, 0)
        rounds.leave(number)

    await asyncio.gather(one(0, 0), one(1, 20))
    assert seen == [[0, 0], [2, 3], [2, 6]]
    assert [len(each) for each in grown] == [2, 6]


async def test_a_problem_that_fails_does_not_hold_up_the_others() -> None:
    grown: list[list[Path]] = [[], []]
    rounds = Rounds(lambda paths: [1, int(len(paths[1]) < 3)], grown)

    async def fails() -> None:
        await rounds.next(0)
        rounds.leave(0)

    async def draws() -> None:
        while size := await rounds.next(1):
            grown[1] += drawn("q", size, 0)
        rounds.leave(1)

    await asyncio.wait_for(asyncio.gather(fails(), draws()), 30)
    assert len(grown[1]) == 3
