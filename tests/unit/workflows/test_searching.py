"""The searches over a tree that can be enumerated, against searches written another way."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.support.toy_search import Prefix, Toy
from workflows.searching.choosing import best, elected, is_elected, votes
from workflows.searching.methods import search, shares
from workflows.searching.tree import Node
from workflows.settings.solving import SolveSettings
from workflows.votes.rewards import AGGREGATES, Aggregate

SEEDS = range(40)


async def searched(toy: Toy, **asked: Any) -> list[Node]:
    return (await search(toy, SolveSettings(**asked))).solutions


async def test_a_beam_with_a_place_for_each_beginning_finds_every_solution() -> None:
    complete = 0
    for seed in SEEDS:
        toy = Toy(seed, branches=2)
        shown = all(
            {toy.draw(prefix, index) for index in range(8)} == {(*prefix, "s0"), (*prefix, "s1")}
            for size in range(3)
            for prefix in itertools.product(("s0", "s1"), repeat=size)
        )
        found = {node.steps for node in await searched(toy, n=64, width=8, aggregate="min")}
        everything = set(itertools.product(("s0", "s1"), repeat=3))
        assert found <= everything
        assert not shown or found == everything
        complete += shown
    assert complete > len(SEEDS) / 2, "eight draws of two next steps mostly show both"


def plain_beam(toy: Toy, n: int, width: int, aggregate: Aggregate) -> list[Prefix]:
    """Solutions by the textbook's beam search, without nodes, memory or waiting."""
    frontier: list[Prefix] = [()]
    found: list[Prefix] = []
    while going := [prefix for prefix in frontier if not toy.whole(prefix)]:
        standing = [prefix for prefix in frontier if toy.whole(prefix)]
        each = shares(n - width * len(standing), len(going))
        children = [
            child
            for prefix, count in zip(going, each, strict=True)
            for child in dict.fromkeys(toy.draw(prefix, index) for index in range(count))
            if toy.chance("dead", child) >= toy.dead
        ]
        found += [child for child in children if toy.whole(child)]
        pool = [*standing, *children]
        pool.sort(key=lambda prefix: -toy.score(prefix, aggregate))
        frontier = pool[: max(1, n // width)]
    return found


@pytest.mark.parametrize("aggregate", AGGREGATES)
async def test_a_beam_search_is_the_textbook_s(aggregate: Aggregate) -> None:
    for seed in SEEDS:
        world: dict[str, Any] = {"depth": 4, "short": 0.3, "dead": 0.15 if seed % 2 else 0.0}
        found = await searched(Toy(seed, **world), n=12, width=3, aggregate=aggregate)
        assert [node.steps for node in found] == plain_beam(Toy(seed, **world), 12, 3, aggregate)


@pytest.mark.parametrize("aggregate", AGGREGATES)
async def test_dvts_is_greedy_in_each_subtree(aggregate: Aggregate) -> None:
    for seed in SEEDS:
        toy = Toy(seed, depth=4)
        found = {node.steps for node in await searched(toy, method="dvts", n=12, width=4,
                                                       aggregate=aggregate)}  # fmt: skip
        plain, counts = Toy(seed, depth=4), dict[Prefix, int]()
        ends: list[Prefix] = [()] * 3
        expected = set()
        for _ in range(4):
            nexts = []
            for prefix in ends:
                start = counts.get(prefix, 0)
                counts[prefix] = start + 4
                drawn = dict.fromkeys(plain.draw(prefix, start + index) for index in range(4))
                nexts.append(max(drawn, key=lambda child: plain.score(child, aggregate)))
                expected |= {child for child in drawn if len(child) == 4}
            ends = nexts
        assert found == expected


async def test_steps_that_are_drawn_twice_are_one_node_with_two_copies() -> None:
    toy = Toy(1, branches=2)
    children = await toy.next_steps(toy.root, 10)
    assert len(children) == 2
    assert sum(child.copies for child in children) == 10


async def test_early_best_of_n_takes_the_solution_that_all_n_would_give() -> None:
    saved = 0
    for seed, aggregate in itertools.product(SEEDS, ("min", "product")):
        whole, early = Toy(seed, levels=2), Toy(seed, levels=2)
        asked = {"method": "best_of_n", "n": 16, "aggregate": aggregate}
        all_n = await searched(whole, early=False, **asked)
        some = await searched(early, **asked)
        assert best(some, aggregate).steps == best(all_n, aggregate).steps, f"seed {seed}"
        assert early.judged <= whole.judged
        assert early.sampled <= whole.sampled == 16
        saved += whole.judged - early.judged
    assert saved > 0


@pytest.mark.parametrize("asked", [{"method": "majority"}, {"method": "best_of_n"}])
async def test_an_early_vote_elects_the_answer_that_all_n_would(asked: dict[str, Any]) -> None:
    saved = 0
    for seed in SEEDS:
        whole, early = Toy(seed, answers=2), Toy(seed, answers=2)
        further = asked | {"choose": "vote", "n": 16, "round": 2}
        weighed = None if asked["method"] == "majority" else SolveSettings().aggregate
        names = []
        for toy, stops in ((whole, False), (early, True)):
            nodes = await searched(toy, early=stops, **further)
            spelled = {node.answer: node.answer for node in nodes}
            names.append(elected(votes(nodes, spelled, weighed)))
        assert names[0] == names[1], f"seed {seed}"
        saved += whole.sampled - early.sampled
    assert saved > 0


def test_a_vote_is_decided_where_no_further_votes_change_it_and_nowhere_else() -> None:
    for first, second, left in itertools.product(range(5), range(5), range(1, 5)):
        sums = {"a": float(first), "b": float(second)}
        outcomes = set()
        for more in itertools.product("abc", repeat=left):
            total = sums | {}
            for name in more:
                total[name] = total.get(name, 0.0) + 1
            outcomes.add(elected(total))
        # Votes may be less than 1 each, so that every number up to `left` counts.
        outcomes |= {elected(sums)}
        assert is_elected(sums, left) == (len(outcomes) == 1), (sums, left)


async def test_majority_asks_for_no_reward() -> None:
    toy = Toy(3)
    await searched(toy, method="majority", n=8)
    assert toy.judged == 0


async def test_enough_ends_the_sampling_and_one_round_is_the_least() -> None:
    toy = Toy(5)
    found = await search(toy, SolveSettings(method="best_of_n", n=64, enough=0.0))
    assert (found.ended, toy.sampled) == ("enough", SolveSettings().round)


@pytest.mark.parametrize("method", ["beam", "dvts", "best_of_n", "majority"])
async def test_a_limit_ends_a_search_between_two_rounds(method: str) -> None:
    toy = Toy(2, depth=9, most=20)
    found = await search(toy, SolveSettings(method=method, n=12, width=4, early=False, depth=9))
    if method in ("beam", "dvts"):
        assert found.ended == "nodes"
        assert 20 <= toy.sampled < 20 + 12
        assert found.solutions == []
    else:
        assert (found.ended, toy.sampled) == ("done", 12)


@pytest.mark.parametrize("method", ["beam", "dvts"])
async def test_a_search_goes_no_deeper_than_its_depth(method: str) -> None:
    found = await search(Toy(2, depth=9), SolveSettings(method=method, depth=4))
    assert (found.ended, found.rounds, found.solutions) == ("depth", 4, [])


@pytest.mark.parametrize("method", ["beam", "dvts", "best_of_n"])
async def test_where_everything_is_a_dead_end_there_is_no_solution(method: str) -> None:
    toy = Toy(2, dead=1.0)
    found = await search(toy, SolveSettings(method=method))
    assert (found.ended, found.solutions, toy.judged) == ("dead_end", [], 0)


@pytest.mark.parametrize("method", ["beam", "dvts", "best_of_n", "majority"])
async def test_ties_go_to_the_first_so_that_a_search_repeats_itself(method: str) -> None:
    runs = [
        [(node.steps, node.copies) for node in await searched(Toy(4, levels=1), method=method)]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


async def test_a_solution_that_loses_its_place_stays_a_candidate() -> None:
    """By the last step's reward a later solution may be better than one that was whole before."""
    lost = 0
    for seed in SEEDS:
        toy = Toy(seed, depth=5, short=0.4)
        found = await searched(toy, n=6, width=6, aggregate="last")
        lost += len({len(node.steps) for node in found}) > 1
        assert best(found, "last").score("last") == max(node.score("last") for node in found)
    assert lost > 0
