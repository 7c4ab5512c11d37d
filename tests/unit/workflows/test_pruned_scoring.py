"""Pruned histories whatever their speed, whichever of them fail, and however few sessions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from storage.errors import ItemError, SandboxLost
from tests.support.known_scorer import KnownScorer, Prefix
from workflows.stages.scorers import holding
from workflows.stages.scorers.contract import score
from workflows.stages.scorers.pruned import score_pruned
from workflows.votes.pruning import Prune, Tally
from workflows.votes.rewards import first_error_index

STEPS = ("a", "b", "c")
TABLE = (
    (0.9, 0.2, 0.9), (0.8, 0.9, 0.9), (0.9, 0.1, 0.2), (0.9, 0.8, 0.9), (0.7, 0.3, 0.9),
)  # fmt: skip
"""Rewards of each history; a mean of 0.46 makes the second step the first error."""
N = len(TABLE)


def scorer(agreed: bool = False, **more: Any) -> KnownScorer:
    def reward(prefix: Prefix, history: int) -> float:
        return 0.9 if agreed else TABLE[history][len(prefix) - 1]

    return KnownScorer(reward, **more)


async def pruned(asked: KnownScorer, prune: Prune = "first_error") -> dict[int, list[float]]:
    made = await score_pruned(asked, "p", STEPS, "r", Tally(len(STEPS), N, prune))
    return {row.history: row.rewards for row in made.histories}


@pytest.mark.parametrize("slow", [(), (0,), (2,), (0, 1), (3, 4)])
async def test_who_is_slow_changes_nothing(slow: tuple[int, ...]) -> None:
    for prune in ("steps", "first_error"):
        rows = await pruned(scorer(slow=frozenset(slow)), prune)
        assert rows == await pruned(scorer(), prune)
        made = await score(scorer(), "p", STEPS, "r", N)
        found = await score_pruned(scorer(), "p", STEPS, "r", Tally(len(STEPS), N, prune))
        assert first_error_index(found.rewards) == first_error_index(made.rewards) == 1


async def test_a_lost_history_is_replaced_by_one_that_would_not_have_been_begun() -> None:
    assert sorted(await pruned(scorer(agreed=True), "steps")) == [0, 1, 2]
    lost = {(0, 1): ItemError("no_verdict")}
    assert sorted(await pruned(scorer(agreed=True, fails=lost), "steps")) == [1, 2, 3]


async def test_a_history_whose_sandbox_is_lost_begins_again_beside_those_that_wait() -> None:
    assert await pruned(scorer(fails={(1, 1): SandboxLost("gone")})) == await pruned(scorer())


async def test_where_all_histories_fail_the_first_reason_is_raised() -> None:
    lost = {(number, 1): ItemError("too_long") for number in range(N)}
    with pytest.raises(ItemError, match="too_long"):
        await pruned(scorer(fails=lost))


async def test_histories_that_wait_for_each_other_let_go_of_their_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One session for the three of a wave: who kept it while it waits would wait for ever."""
    monkeypatch.setattr(holding, "HOLD_S", 0.0)
    few = scorer(sessions=1)
    async with asyncio.timeout(10):
        assert await pruned(few) == await pruned(scorer())
    assert few.open == 0


async def test_a_history_that_need_not_wait_long_keeps_its_session() -> None:
    enough = scorer(sessions=N)
    rows = await pruned(enough)
    assert rows == await pruned(scorer())
    assert enough.open == 0
