"""Stage `metaverify`: a second model scores whether the reasons of the judge's texts are real.

Invariant: the model sees problem, steps and the verification, never a label or the answer. Every
text becomes a row, readable or not. No path ends here.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from actors.engines.contract import Refusal
from actors.workers.contract import ShardResult, process_items
from actors.workers.yields import Text, note_reply
from storage.errors import ConfigurationError
from storage.rows.kinds import JUDGEMENTS, PATHS, PROBLEMS, REASONS, ShardRows
from storage.rows.records import Judgement, Metaverified, Path, Problem, ReasonScore
from storage.runs.specs import Difference, Spec
from workflows.formats.judge_prompts import reasons_chat
from workflows.judging.reasons import about, read_score, reports_error
from workflows.settings import StageSettings, sampling_of
from workflows.settings.metaverifying import MetaverifySettings
from workflows.stages.kit import TEMPLATE, KitStage, Stage


class Metaverifier(KitStage[StageSettings]):
    """Asks for scores of the verifications that report an error."""

    async def run(self, rows: ShardRows) -> ShardResult[Metaverified]:
        """Score the verifications of a shard's paths.

        Drops, per path: the engine's refusals. Raises InfrastructureError.
        """
        problems = {problem.problem_id: problem for problem in rows[PROBLEMS]}
        paths = {path.path_id: path for path in rows[PATHS]}
        of_path: dict[str, list[Judgement]] = defaultdict(list)
        for row in rows[JUDGEMENTS]:
            of_path[row.path_id].append(row)

        async def one(path_id: str) -> list[Metaverified]:
            path, judge = paths[path_id], self.kit.settings.judge
            wrong = [row for row in of_path[path_id] if reports_error(row, judge)]
            parts = await asyncio.gather(
                *(self._scores(problems[path.problem_id], path, row) for row in wrong)
            )
            scores = [score for part in parts for score in part]
            return [Metaverified(path_id, path.problem_id, scores, self.kit.model)]

        made, drops = await process_items(of_path, str, one)
        scores = [score for row in made for score in row.scores]
        return ShardResult(
            tuple(made),
            tuple(drops),
            {
                "tokens": sum(score.tokens for score in scores),
                "scores": len(scores),
                "unreadable": sum(score.score is None for score in scores),
            },
        )

    async def _scores(self, problem: Problem, path: Path, row: Judgement) -> Sequence[ReasonScore]:
        asked: MetaverifySettings = self.kit.own
        seed = self.kit.seed_of("\x1f".join(map(str, about(row.path_id, row))))
        chat = reasons_chat(problem.problem, path.steps[: row.steps], row.text, self.kit.texts)
        sampling = replace(sampling_of(asked), n=asked.votes, seed=seed)
        reply = await self.kit.engine.generate(chat, sampling)
        made = [
            ReasonScore(
                prompt=row.prompt,
                sees=row.sees,
                number=row.number,
                round=row.round,
                steps=row.steps,
                vote=vote,
                score=read_score(done.text, done.finish_reason),
                text=done.text,
                finish_reason=done.finish_reason,
                seed=seed,
                tokens=done.tokens,
            )
            for vote, done in enumerate(reply.completions)
        ]
        note_reply(
            Text(row.path_id, each.text, None if each.score is not None else "unreadable")
            for each in made
        )
        return made


def _check(settings: StageSettings) -> None:
    if "judge" not in settings.consensus.sources:
        raise ConfigurationError(
            f"stage {REASONS.stage!r} scores verifications that no source reads: put `judge` into "
            "`consensus.sources`"
        )


LEAST = f"{REASONS.stage}.least"


def _redone(setting: str, difference: Difference, spec: Spec) -> bool | None:
    return False if setting == LEAST else None


METAVERIFY = Stage(
    rows=REASONS,
    role="verifier",
    asks=("reasons_system", "reasons"),
    reads=(PROBLEMS, PATHS, JUDGEMENTS),
    also=(JUDGEMENTS.stage,),
    remedy=f"the verifier does not end with a boxed score: {TEMPLATE}, or take a stronger one",
    says="lets a second model score whether the reasons of the judge's verifications are real",
    settings=MetaverifySettings,
    check=_check,
    redone=_redone,
    drops=tuple(Refusal),
    make=Metaverifier,
)
