"""Stages `repair` and `retry`: replace the first wrong step, and test whether that helps (InT).

`repair` asks the judge for one step. `retry` lets the completion model continue behind it, and
keeps it if enough continuations are right.

Invariant: a row holds the steps before the first wrong one, and its replacement. It has no later
step of the path. Every replacement that was tried is stored with its counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from actors.engines.contract import Refusal, Sampling
from actors.workers.contract import ShardResult, process_items
from actors.workers.yields import note_reading
from storage.errors import ItemError
from storage.rows.kinds import (
    AGREEMENTS,
    PATHS,
    PROBLEMS,
    REPAIRED,
    RETRIED,
    ROLLOUTS,
    ShardRows,
)
from storage.rows.records import Agreement, Drop, Intervention, Path, Problem
from storage.runs.specs import Difference, Spec
from workflows.estimation.ledger import State
from workflows.formats.steps import opening
from workflows.judging.references import check_references
from workflows.judging.seats import Unjudged, repair_chat
from workflows.labels.rule import first_error
from workflows.settings import RepairSettings, StageSettings
from workflows.stages.estimate import ROLLOUT_TOKENS, Completer, check_rollouts, rolled_anew
from workflows.stages.kit import TEMPLATE, KitStage, Stage


class Unrepaired(StrEnum):
    """Why a path has no replacement for its first wrong step; the list is closed."""

    NO_WRONG_STEP = "no_wrong_step"
    """None of its steps is wrong."""
    TRUNCATED = "truncated"
    """The replacement was cut at the limit of tokens."""
    EMPTY_STEP = "empty_step"
    """Nothing was written."""
    NOT_ONE_STEP = "not_one_step"
    """More than one step was written."""
    SAME_STEP = "same_step"
    """The wrong step was written again."""


class Unhelpful(StrEnum):
    """Why a replacement is not kept; the list is closed."""

    NO_SUCCESS = "no_success"
    """Too few continuations of it are right (`stages.repair.successes`)."""


class Repairer(KitStage[StageSettings]):
    """Asks for one replacement per kept path with a wrong step."""

    async def run(self, rows: ShardRows) -> ShardResult[Intervention]:
        """Replace the first wrong step of every kept path.

        Drops, per path: `no_wrong_step`, `truncated`, `empty_step`, `not_one_step`, `same_step`,
        `no_reference_solution` and the engine's refusals. Raises InfrastructureError.
        """
        problems = {problem.problem_id: problem for problem in rows[PROBLEMS]}
        paths = {path.path_id: path for path in rows[PATHS]}

        async def one(kept: Agreement) -> list[Intervention]:
            path = paths[kept.path_id]
            step = first_error(kept.labels)
            if step is None:
                raise ItemError(Unrepaired.NO_WRONG_STEP)
            return [await self._ask(problems[path.problem_id], path, step)]

        kept = [row for row in rows[AGREEMENTS] if row.kept]
        repaired, drops = await process_items(kept, lambda row: row.path_id, one)
        return ShardResult(
            tuple(repaired), tuple(drops), {"tokens": sum(row.tokens for row in repaired)}
        )

    async def _ask(self, problem: Problem, path: Path, step: int) -> Intervention:
        prefix, wrong = path.steps[:step], path.steps[step]
        settings, seed = self.kit.settings.repair, self.kit.seed_of(path.path_id)
        sampling = Sampling(
            temperature=settings.temperature, top_p=settings.top_p, max_tokens=settings.max_tokens,
            n=1, seed=seed,
        )  # fmt: skip
        chat = repair_chat(settings.sees, problem, prefix, wrong, self.kit.texts)
        reply = await self.kit.engine.generate(chat, sampling)
        written = reply.completions[0]
        replacement = written.text.strip()
        with note_reading(path.path_id, written.text):
            if written.finish_reason != "stop":
                raise ItemError(Unrepaired.TRUNCATED, f"{written.tokens} tokens")
            if not replacement:
                raise ItemError(Unrepaired.EMPTY_STEP)
            if "\n\n" in replacement:
                raise ItemError(Unrepaired.NOT_ONE_STEP)
        if replacement == wrong.strip():
            raise ItemError(Unrepaired.SAME_STEP)
        return Intervention(
            path_id=path.path_id,
            problem_id=path.problem_id,
            problem=problem.problem,
            step=step,
            prefix=prefix,
            wrong=wrong,
            replacement=replacement,
            reply_tokens=written.tokens,
            n=0,
            c=0,
            kept=False,
            seed=seed,
            tokens=written.tokens,
        )


class Retrial(KitStage[StageSettings]):
    """Rolls out from each replacement."""

    async def run(self, rows: ShardRows) -> ShardResult[Intervention]:
        """Try every replacement of a shard: rows for all, a drop `no_success` for each that fails.

        The continuations are the rollouts that `estimate` would make of the same states. Raises
        InfrastructureError.
        """
        problems = {problem.problem_id: problem for problem in rows[PROBLEMS]}
        settings, rolling = self.kit.settings.repair, Completer(self.kit)

        async def one(row: Intervention) -> list[Intervention]:
            steps = (*row.prefix, row.replacement)
            start = State(steps, opening(steps))
            trial = await rolling.roll(problems[row.problem_id], start, 0, settings.continuations)
            kept = trial.c >= settings.successes
            return [
                replace(row, n=trial.n, c=trial.c, kept=kept, seed=trial.seed, tokens=trial.tokens)
            ]

        tried, drops = await process_items(rows[REPAIRED], lambda row: row.path_id, one)
        lost = [Drop(row.path_id, Unhelpful.NO_SUCCESS) for row in tried if not row.kept]
        return ShardResult(
            tuple(tried),
            (*drops, *lost),
            {
                "tokens": sum(row.tokens for row in tried),
                "rollouts": sum(row.n for row in tried),
                "kept": sum(row.kept for row in tried),
            },
        )


def _check_input(settings: StageSettings, given: Sequence[Problem]) -> None:
    check_references(REPAIRED.stage, (settings.repair.sees,), given)


READ_BY_RETRY = ("repair.continuations", "repair.successes")


def _repaired_anew(setting: str, difference: Difference, spec: Spec) -> bool | None:
    return False if setting in READ_BY_RETRY else None


def _tried_anew(setting: str, difference: Difference, spec: Spec) -> bool | None:
    return True if setting in READ_BY_RETRY else rolled_anew(setting, difference, spec)


REPAIR = Stage(
    rows=REPAIRED,
    role="judge",
    asks=("judge_system", "repair"),
    reads=(PROBLEMS, PATHS, AGREEMENTS),
    remedy=f"the judge does not write one step: {TEMPLATE}, or take a stronger one",
    says="writes one step in the place of the first wrong one",
    settings=RepairSettings,
    check_input=_check_input,
    redone=_repaired_anew,
    drops=(*Unrepaired, Unjudged.NO_REFERENCE_SOLUTION, *Refusal),
    make=Repairer,
)
RETRY = Stage(
    rows=RETRIED,
    role="completer",
    reads=(PROBLEMS, REPAIRED),
    solves=True,
    longest=ROLLOUT_TOKENS,
    says="goes on from the repaired step, to see whether it helps",
    also=(REPAIRED.stage, ROLLOUTS.stage),
    check=check_rollouts,
    redone=_tried_anew,
    drops=(*Unhelpful, *Refusal),
    make=Retrial,
)
