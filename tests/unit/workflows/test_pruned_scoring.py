"""Pruned histories whatever their speed and whichever of them fail."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from storage.errors import ItemError, SandboxLost
from storage.rows.records import CodeRun, Verification
from workflows.stages.scorers.contract import Judging, score
from workflows.stages.scorers.pruned import score_pruned
from workflows.votes.pruning import Prune, Tally
from workflows.votes.rewards import first_error_index

STEPS = ("a", "b", "c")
TABLE = (
    (0.9, 0.2, 0.9), (0.8, 0.9, 0.9), (0.9, 0.1, 0.2), (0.9, 0.8, 0.9), (0.7, 0.3, 0.9),
)  # fmt: skip
"""Rewards of each history; a mean of 0.46 makes the second step the first error."""


@dataclass
class Written(Judging):
    """A history whose rewards are known, and that may be slow, or fail."""

    table: tuple[tuple[float, ...], ...]
    number: int
    slow: frozenset[int]
    fails: dict[int, BaseException]
    rewards: list[float] = field(default_factory=list)
    executions: list[CodeRun] = field(default_factory=list)
    degraded: list[bool] = field(default_factory=list)
    tokens: int = 0
    calls: int = 0
    text: str = ""

    async def judge(self, *steps: str) -> list[float]:
        for _ in range(5 if self.number in self.slow else 1):
            await asyncio.sleep(0)
        if len(self.rewards) <= 1 < len(self.rewards) + len(steps) and self.number in self.fails:
            error = self.fails[self.number]
            if isinstance(error, SandboxLost):
                del self.fails[self.number]
            raise error
        start = len(self.rewards)
        self.rewards += self.table[self.number][start : start + len(steps)]
        self.tokens += 10 * len(steps)
        return self.rewards[start:]

    def fork(self) -> Judging:
        raise NotImplementedError

    async def close(self) -> None:
        pass

    def row(self) -> Verification:
        return Verification("r", self.number, "cot", self.rewards, [], [], [], [], 0, "m", 0)


class Table:
    """A scorer that knows its rewards."""

    def __init__(
        self,
        table: tuple[tuple[float, ...], ...] = TABLE,
        slow: tuple[int, ...] = (),
        **fails: BaseException,
    ) -> None:
        self.table = table
        self._slow = frozenset(slow)
        self._fails = {int(number.removeprefix("h")): error for number, error in fails.items()}

    def begin(self, problem: str, name: str, history: int = 0) -> Judging:
        return Written(self.table, history, self._slow, self._fails)


async def pruned(scorer: Table, prune: Prune = "first_error") -> dict[int, list[float]]:
    made = await score_pruned(scorer, "p", STEPS, "r", Tally(len(STEPS), 5, prune))
    return {row.history: row.rewards for row in made.histories}


@pytest.mark.parametrize("slow", [(), (0,), (2,), (0, 1), (3, 4)])
async def test_who_is_slow_changes_nothing(slow: tuple[int, ...]) -> None:
    for prune in ("steps", "first_error"):
        rows = await pruned(Table(slow=slow), prune)
        assert rows == await pruned(Table(), prune)
        made = await score(Table(slow=slow), "p", STEPS, "r", len(TABLE))
        found = await score_pruned(
            Table(slow=slow), "p", STEPS, "r", Tally(len(STEPS), len(TABLE), prune)
        )
        assert first_error_index(found.rewards) == first_error_index(made.rewards) == 1


async def test_a_lost_history_is_replaced_by_one_that_would_not_have_been_begun() -> None:
    agreed = ((0.9, 0.9, 0.9),) * 5
    assert sorted(await pruned(Table(agreed), "steps")) == [0, 1, 2]
    assert sorted(await pruned(Table(agreed, h0=ItemError("no_verdict")), "steps")) == [1, 2, 3]


async def test_a_history_whose_sandbox_is_lost_begins_again_beside_those_that_wait() -> None:
    assert await pruned(Table(h1=SandboxLost("gone"))) == await pruned(Table())


async def test_where_all_histories_fail_the_first_reason_is_raised() -> None:
    lost = {f"h{number}": ItemError("too_long") for number in range(len(TABLE))}
    with pytest.raises(ItemError, match="too_long"):
        await pruned(Table(**lost))
