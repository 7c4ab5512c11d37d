"""The moves of a search with a scripted policy and a scorer that knows its rewards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from actors.engines.contract import Chat, Sampling
from actors.engines.scripted import ScriptedEngine
from storage.errors import ItemError, SandboxLost
from storage.rows.records import Problem
from storage.seeds import request_seed
from tests.support.known_scorer import KnownScorer, Prefix
from workflows.answers.grading import grader
from workflows.formats import steps
from workflows.formats.solving import next_chat
from workflows.searching.tree import ANSWERED, Node
from workflows.settings import AnswerSettings
from workflows.settings.solving import SolveSettings
from workflows.stages.solvers.moves import ModelMoves

WHOLE = ("two", "four", "The answer is \\boxed{4}.")


def script(chat: Chat, seed: int) -> str:
    """The whole solution, whose first step has one of three spellings."""
    done = len(steps.split(chat.prefill)) - 1
    spelled = (f"{WHOLE[0]}{'!' * (seed % 3)}", *WHOLE[1:])
    return steps.join(spelled).removeprefix(steps.join(spelled[:done])).lstrip().removeprefix(
        steps.header(done + 1)
    )  # fmt: skip


def reward(prefix: Prefix, history: int) -> float:
    return round(0.9 - 0.1 * len(prefix) - 0.01 * history - 0.001 * prefix[0].count("!"), 6)


@pytest.fixture
async def made() -> AsyncIterator[Any]:
    pool = grader(AnswerSettings())

    def moves(scorer: KnownScorer | None = None, histories: int = 2, **asked: Any) -> ModelMoves:
        settings = SolveSettings(**asked)
        return ModelMoves(
            problem=Problem("p", "2 + 2?", "4"),
            asked=settings,
            policy=ScriptedEngine(script),
            chat=next_chat(settings),
            sampling=Sampling(),
            seed_of=partial(request_seed, 0, "s"),
            grader=pool,
            scorer=scorer or KnownScorer(reward),
            histories=histories,
        )

    yield moves
    await pool.close()


async def test_a_solution_grows_step_by_step_to_its_answer(made: Any) -> None:
    moves = made()
    node = moves.root
    for number in range(3):
        assert node.end is None
        (node, *_) = await moves.next_steps(node, 4)
        assert len(node.steps) == number + 1
    assert (node.end, node.answer, node.steps[1:]) == (ANSWERED, "4", WHOLE[1:])
    assert moves.cost.samples == 12
    assert moves.cost.policy_tokens > 0 == moves.cost.verifier_tokens


async def test_equal_next_steps_are_one_and_a_second_call_draws_others(made: Any) -> None:
    moves = made()
    first = await moves.next_steps(moves.root, 9)
    assert len(first) == 3
    assert sum(node.copies for node in first) == 9
    one_by_one = made()
    again = [await one_by_one.next_steps(one_by_one.root, 3) for _ in range(3)]
    drawn = [node.steps for group in again for node in group for _ in range(node.copies)]
    assert sorted(drawn) == sorted(node.steps for node in first for _ in range(node.copies))


async def test_whole_solutions_that_come_again_are_counted_where_they_came_first(
    made: Any,
) -> None:
    moves = made()
    first = await moves.solutions(9)
    assert len(first) == 3
    assert await moves.solutions(9) == []
    assert sum(node.copies for node in first) == 18
    assert {node.end for node in first} == {ANSWERED}


@pytest.mark.parametrize(
    ("text", "asked", "end"),
    [
        ("  \n\nStep 2: x", {}, "empty_step"),
        ("The answer is four.", {}, "no_box"),
        ("one two three four", {"step_tokens": 2}, "truncated"),
        ("x", {"max_tokens": 1, "step_tokens": 9}, None),
    ],
)
async def test_what_can_t_go_on_is_a_dead_end_with_its_reason(
    made: Any, text: str, asked: dict[str, int], end: str | None
) -> None:
    moves = made(**asked)
    moves.policy = ScriptedEngine(lambda chat, seed: text)
    (node,) = await moves.next_steps(moves.root, 2)
    assert node.end == (end or "no_box")
    assert node.copies == moves.cost.dead_ends == 2


async def test_a_solution_that_uses_up_its_tokens_goes_no_further(made: Any) -> None:
    moves = made(max_tokens=3)
    (node, *_) = await moves.next_steps(moves.root, 1)
    node.tokens = 3
    assert await moves.next_steps(node, 4) == []
    assert node.end == "truncated"
    assert moves.cost.samples == 1


async def test_a_header_in_another_spelling_ends_a_step_too(made: Any) -> None:
    moves = made()
    moves.policy = ScriptedEngine(lambda chat, seed: "two\n\n__Step 2:__ four\n\nStep 3: more")
    (node,) = await moves.next_steps(moves.root, 1)
    assert (node.steps, node.end, node.text) == (("two",), None, "Step 1: two")


def beginnings(*whole: str) -> Node:
    return Node(whole, "", None, 0, "4", ANSWERED)


async def test_shared_beginnings_are_judged_once_and_forked(made: Any) -> None:
    scorer = KnownScorer(reward)
    moves = made(scorer)
    nodes = [beginnings("a", "b", "c"), beginnings("a", "b", "d"), beginnings("a", "x")]
    await moves.judge(nodes, "min")
    assert len(scorer.judged) == len(set(scorer.judged)) == 2 * 5
    for node in nodes:
        for size, found in enumerate(node.rewards, start=1):
            prefix = node.steps[:size]
            assert found == pytest.approx((reward(prefix, 0) + reward(prefix, 1)) / 2)
    assert (moves.cost.judged, moves.cost.verifier_tokens) == (10, 100)
    await moves.judge([beginnings("a", "b")], "min")
    assert moves.cost.judged == 10, "known already"


@pytest.mark.parametrize("histories", [1, 2, 3])
async def test_one_session_is_enough_for_many_solutions_and_histories(
    made: Any, histories: int
) -> None:
    scorer = KnownScorer(reward, sessions=1)
    moves = made(scorer, histories)
    nodes = [beginnings("a", step, last) for step in "bc" for last in "de"]
    async with asyncio.timeout(10):
        await moves.judge(nodes, "min")
        await moves.judge([beginnings("a", "b", "d", "f")], "min", bound=0.0)
    assert all(len(node.rewards) == 3 for node in nodes)
    assert scorer.open == 0
    assert len(scorer.judged) == histories * 8


@pytest.mark.parametrize("histories", [1, 2])
async def test_a_bound_ends_the_judging_of_what_can_t_win(made: Any, histories: int) -> None:
    scorer = KnownScorer(reward)
    moves = made(scorer, histories)
    node = beginnings("a", "b", "c", "d")
    await moves.judge([node], "min", bound=reward(("a", "b"), 0))
    assert len(node.rewards) == 2
    assert moves.cost.judged == 2 * histories
    mean = beginnings("x", "b", "c")
    await moves.judge([mean], "mean", bound=1.0)
    assert len(mean.rewards) == 3, "a mean may rise again"


async def test_a_history_that_fails_leaves_its_step_to_the_others(made: Any) -> None:
    scorer = KnownScorer(reward, fails={(0, 1): ItemError("no_verdict")})
    moves = made(scorer)
    node = beginnings("a", "b", "c")
    await moves.judge([node], "min")
    assert node.alive
    assert node.rewards[1:] == (reward(("a", "b"), 1), reward(("a", "b", "c"), 1))
    every = KnownScorer(reward, fails={(number, 1): ItemError("too_long") for number in (0, 1)})
    moves, node = made(every), beginnings("a", "b", "c")
    await moves.judge([node], "min")
    assert (node.end, len(node.rewards)) == ("too_long", 1)


async def test_a_lost_sandbox_costs_a_step_and_changes_no_reward(made: Any) -> None:
    lost = KnownScorer(reward, fails={(0, 1): SandboxLost("gone")}, sessions=2)
    moves, other = made(lost), made()
    nodes = [beginnings("a", "b", "c"), beginnings("a", "b", "c")]
    await moves.judge(nodes[:1], "min")
    await other.judge(nodes[1:], "min")
    assert nodes[0].rewards == nodes[1].rewards
    assert moves.cost.judged == other.cost.judged + 1
    assert lost.open == 0
