"""Pruned Maj@N against all N histories, by brute force and by chance."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest

from workflows.votes.pruning import Prune, Tally, changes, decided, least_more
from workflows.votes.rewards import averaged, first_error_index

VOTES = (0.0, 0.5, 1.0)
SURE = 1 - 1e-6
SEEDS = 300


def outcomes(rewards: Sequence[float], left: int, lost: bool) -> set[bool]:
    """Every verdict that `left` further histories can bring; `lost`: some of them may fail."""
    verdicts = set()
    for more in itertools.product((*VOTES, None) if lost else VOTES, repeat=left):
        known = [*rewards, *(reward for reward in more if reward is not None)]
        if known:
            verdicts.add(sum(known) / len(known) >= 0.5)
    return verdicts


@pytest.mark.parametrize("done", range(5))
@pytest.mark.parametrize("left", range(1, 5))
@pytest.mark.parametrize("lost", [False, True])
def test_a_verdict_is_decided_where_no_outcome_changes_it_and_nowhere_else(
    done: int, left: int, lost: bool
) -> None:
    for rewards in itertools.product(VOTES, repeat=done):
        assert decided(rewards, left) == (len(outcomes(rewards, left, lost)) == 1), rewards


@pytest.mark.parametrize("n", range(1, 9))
def test_the_next_wave_is_the_smallest_that_can_decide(n: int) -> None:
    for done in range(n):
        for rewards in itertools.product((0.0, SURE), repeat=done):
            left = n - done
            able = [
                more
                for more in range(left + 1)
                if any(
                    decided([*rewards, *votes], left - more)
                    for votes in itertools.product((0.0, SURE), repeat=more)
                )
            ]
            assert least_more(rewards, left) == min(able), rewards


def test_the_chance_of_a_change_is_that_of_drawn_votes() -> None:
    """Beta(1 + yes, 1 + no), then votes: a fifth of the draws' spread is far below 0.01."""
    draw = random.Random(7)
    for rewards, left in (((1.0, 1.0, 0.0), 4), ((0.9, 0.8), 3), ((0.0,), 7)):
        leaning = sum(rewards) >= len(rewards) / 2
        changed = 0
        for _ in range(40_000):
            chance = draw.betavariate(1 + sum(rewards), 1 + len(rewards) - sum(rewards))
            total = sum(rewards) + sum(draw.random() < chance for _ in range(left))
            changed += (total >= (len(rewards) + left) / 2) != leaning
        assert changes(rewards, left) == pytest.approx(changed / 40_000, abs=0.01)


def judged(
    table: Sequence[Sequence[float]], prune: Prune, doubt: float = 0.0, lost: Sequence[int] = ()
) -> tuple[dict[int, list[float]], int]:
    """History -> its rewards, of those that were asked for, and the number of judged steps.

    `table`: history -> reward of each step; a history in `lost` fails at its last step.
    """
    steps = len(table[0])
    tally, asked = Tally(steps, len(table), prune, doubt), 0
    rows: dict[int, list[float]] = {}
    while wave := tally.begin():
        going = list(wave)
        rows |= {number: [] for number in wave}
        for step in range(steps):
            if step >= tally.wanted():
                break
            for number in list(going):
                asked += 1
                if number in lost and step == steps - 1:
                    tally.lose(number)
                    going.remove(number)
                    del rows[number]
                else:
                    tally.note(number, step, table[number][step])
                    rows[number].append(table[number][step])
            assert tally.all_judged(step)
    return rows, asked


def tables(seed: int, kinds: Sequence[str] = ("votes", "sure", "any")) -> list[list[float]]:
    draw = random.Random(seed)
    kind, truth = draw.choice(list(kinds)), [draw.random() for _ in range(draw.randint(1, 6))]

    def reward(share: float) -> float:
        yes = draw.random() < share
        return {"votes": float(yes), "sure": abs(yes - 0.05 * draw.random()),
                "any": draw.random()}[kind]  # fmt: skip

    return [[reward(share) for share in truth] for _ in range(draw.randint(1, 9))]


def verdicts(rows: Sequence[Sequence[float]]) -> list[bool]:
    return [reward >= 0.5 for reward in averaged(rows)]


def test_every_verdict_is_that_of_all_histories() -> None:
    for seed in range(SEEDS):
        table = tables(seed)
        rows, _ = judged(table, "steps")
        assert verdicts([*rows.values()]) == verdicts(table), f"seed {seed}"


def test_the_first_error_is_that_of_all_histories() -> None:
    for seed in range(SEEDS):
        table = tables(seed)
        rows, asked = judged(table, "first_error")
        found = first_error_index(averaged([*rows.values()]))
        assert found == first_error_index(averaged(table)), f"seed {seed}"
        assert asked <= judged(table, "steps")[1] <= len(table) * len(table[0])


def test_histories_that_are_lost_are_those_of_an_unpruned_run_that_lost_them() -> None:
    for seed in range(SEEDS):
        table = tables(seed)
        draw = random.Random(seed)
        lost = [number for number in range(len(table)) if draw.random() < 0.3]
        rows, _ = judged(table, "steps", lost=lost)
        kept = [row for number, row in enumerate(table) if number not in lost or number in rows]
        if rows:
            assert verdicts([*rows.values()]) == verdicts(kept), f"seed {seed}"
        else:
            assert set(lost) == set(range(len(table)))


def test_agreeing_histories_are_five_of_eight_and_with_a_doubt_fewer() -> None:
    agreed = [[0.98, 0.97, 0.99]] * 8
    assert judged(agreed, "steps")[1] == 5 * 3
    assert judged(agreed, "steps", doubt=0.05)[1] < 5 * 3
    assert judged([[0.01, 0.9, 0.9]] * 8, "first_error")[1] == 5, "no step behind it"


def test_a_later_wave_goes_no_further_than_the_last_open_step() -> None:
    split = [[0.0, 1.0, 1.0], *[[1.0, 1.0, 1.0]] * 4]
    rows, _ = judged(split, "steps")
    assert {number: len(row) for number, row in rows.items()} == {0: 3, 1: 3, 2: 3, 3: 1}


def test_a_doubt_of_a_twentieth_seldom_changes_a_first_error() -> None:
    """Of verifiers that say the truth in 85 % of their verdicts."""
    changed = 0
    for seed in range(400):
        table = tables(seed, ("sure",))
        rows, _ = judged(table, "first_error", doubt=0.05)
        changed += first_error_index(averaged([*rows.values()])) != first_error_index(
            averaged(table)
        )
    assert changed <= 0.1 * 400
