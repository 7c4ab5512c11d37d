"""Stage `pit`: more rollouts around the first pit of every path, which tell its values better.

The first pit ("Rewarding Progress") is the first step from a state of high MC to one of low MC. Its
two states get further rollouts by the completion model, beside those of stage `estimate`. A state
at the end of a path gets none: the path's own answer grades it.

Invariant: the states are chosen by stage `estimate`'s counts alone, and each path's row lists them.
Their rollouts are a round after those of `estimate`; stage `label` adds up both. Paths with the
same beginning share its rollouts; the first of them in input order counts their tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from actors.engines.contract import Refusal
from actors.workers.contract import ShardResult, process_items
from storage.bounds import STRICT, Positive, Share
from storage.errors import ConfigurationError
from storage.rows.kinds import PATHS, PITS, PROBLEMS, ROLLOUTS, ShardRows
from storage.rows.records import FirstPit, Path, StateRollouts
from workflows.settings import StageSettings
from workflows.stages.estimate import ROLLOUT_TOKENS, Completer
from workflows.stages.kit import Kit, KitStage, Stage
from workflows.stages.label import by_path, state_values, tries_from_the_problem


@dataclass(frozen=True, slots=True, kw_only=True)
class PitSettings:
    """Stage `pit`: further rollouts around the first pit; sampled as `estimate` says."""

    __pydantic_config__ = STRICT

    rollouts: Positive = 16
    """Further rollouts of each of the two states."""
    high: Share = 0.5
    """The state before the pit has at least this MC."""
    low: Share = 0.25
    """The state after the step has at most this MC."""


def around_first_pit(mc: Sequence[float], settings: PitSettings) -> list[int]:
    """The states before and after the first pit, of T + 1 MC values; empty where there is none.

    State T has no rollouts, so that a last step's pit names one state.
    """
    end = len(mc) - 1
    for step in range(end):
        if mc[step] >= settings.high and mc[step + 1] <= settings.low:
            return [state for state in (step, step + 1) if state < end]
    return []


class PitSampler(KitStage[StageSettings]):
    """Rolls out the states around first pits with the completion model."""

    def __init__(self, kit: Kit[StageSettings]) -> None:
        super().__init__(kit)
        self._completer = Completer(kit, PITS.stage)
        self._asked: PitSettings = kit.own

    async def run(self, rows: ShardRows) -> ShardResult[FirstPit]:
        """Roll out the states around each path's first pit.

        Drops, per path: `too_long`. Raises InfrastructureError.
        """
        problems = {problem.problem_id: problem for problem in rows[PROBLEMS]}
        rolled = by_path(rows[ROLLOUTS])
        paths = {path.path_id: path for path in rows[PATHS]}
        shard = self._completer.ledger(problems)

        async def one(name: str) -> list[FirstPit]:
            path, before = paths[name], rolled[name]
            around = self._around(path, before)
            wants = [(state, _rounds(before, state)) for state in around]
            await shard.further(path, wants, self._asked.rollouts)
            return [FirstPit(name, path.problem_id, around, [])]

        going_on = [name for name, mine in rolled.items() if name in paths and estimated(mine)]
        try:
            found, drops = await process_items(going_on, str, one)
        finally:
            await shard.close()
        entries = shard.entries([paths[pit.path_id] for pit in found])
        more = by_path([self._completer.row(*entry) for entry in entries])
        pits = [replace(pit, rollouts=more.get(pit.path_id, [])) for pit in found]
        listed = [row for pit in pits for row in pit.rollouts]
        return ShardResult(
            tuple(pits),
            tuple(drops),
            {
                "tokens": sum(row.tokens for row in listed),
                "rollouts": sum(row.n for row in listed if not row.shared),
                "pits": sum(bool(pit.states) for pit in pits),
            },
        )

    def _around(self, path: Path, rows: Sequence[StateRollouts]) -> list[int]:
        there = {row.state for row in rows}
        around = around_first_pit(state_values(path, rows)[1], self._asked)
        return [state for state in around if state in there]


def estimated(rows: Sequence[StateRollouts]) -> bool:
    """Whether stage `estimate` let a path through: a rollout from the problem itself is right."""
    return any(row.c for row in tries_from_the_problem(rows))


def _rounds(rows: Sequence[StateRollouts], state: int) -> int:
    return sum(row.state == state for row in rows)


def _check(settings: StageSettings) -> None:
    asked: PitSettings = getattr(settings, PITS.stage)
    if asked.low >= asked.high:
        raise ConfigurationError(
            f"`pit.low: {asked.low:g}` is not below `pit.high: {asked.high:g}`: lower it"
        )
    if settings.estimate.mc_budget not in ("exact", "exact_zero_stop"):
        raise ConfigurationError(
            f"stage `pit` reads MC values of every state, and `mc_budget: "
            f"{settings.estimate.mc_budget}` has none: set `estimate.mc_budget: exact`"
        )


PIT = Stage(
    rows=PITS,
    role="completer",
    asks=("solve_system", "solve"),
    reads=(PROBLEMS, PATHS, ROLLOUTS),
    solves=True,
    longest=ROLLOUT_TOKENS,
    says="rolls out once more around the first step from a good state to a bad one",
    settings=PitSettings,
    also=(ROLLOUTS.stage,),
    check=_check,
    drops=tuple(Refusal),
    make=PitSampler,
)
