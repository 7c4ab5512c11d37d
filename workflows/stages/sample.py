"""Stage `sample`: the policy's paths of every problem of a shard, drawn in adaptive rounds.

All problems of a shard are in flight at once. A round of a problem is one request. Rollouts of an
earlier run that may be reused are the first paths, and the policy fills what they leave missing.

Invariant: the policy's sample i of a problem has the same seed, whatever the rounds and whatever is
reused. Every sample becomes a row, also if its problem is dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from actors.engines.contract import Completion, Refusal
from actors.grading.pool import Grader
from actors.workers.contract import ShardResult, process_items
from actors.workers.yields import Text, note_reply
from storage.errors import ConfigurationError, ItemError
from storage.rows.kinds import GROUNDED, PATHS, PROBLEMS, REUSED, TREE, ShardRows
from storage.rows.records import Drop, Path, Problem, Response, ReusedSolutions
from workflows.answers import read_answer
from workflows.formats import steps
from workflows.formats.solving import first_chat
from workflows.formats.steps import flaw
from workflows.formats.worked_examples import check_examples
from workflows.sampling.quota import QuotaRule, Unsampled, allocation
from workflows.sampling.rounds import Rounds
from workflows.settings import SampleSettings, StageSettings, sampling_of
from workflows.stages.kit import Kit, KitStage, Stage


class PolicySampler(KitStage[StageSettings]):
    """Draws solutions until the rule has enough of both classes."""

    def __init__(self, kit: Kit[StageSettings]) -> None:
        super().__init__(kit)
        settings = kit.settings.sample
        self._chat = first_chat(settings, kit.texts)
        self._sampling = sampling_of(settings)
        self._rule = QuotaRule(settings)
        self._allocation = allocation(settings)

    async def run(self, rows: ShardRows) -> ShardResult[Path]:
        """Sample all problems of a shard: a row for every sample, a drop for a problem that fails.

        Raises InfrastructureError.
        """
        drawn: dict[str, list[Path]] = {problem.problem_id: [] for problem in rows[PROBLEMS]}
        reused = {row.problem_id: row for row in rows[REUSED]}
        place = {problem_id: position for position, problem_id in enumerate(drawn)}
        rounds = Rounds(self._allocation, list(drawn.values())) if self._allocation else None

        async def one(problem: Problem) -> list[Path]:
            paths = drawn[problem.problem_id]
            here = place[problem.problem_id]
            if problem.problem_id in reused:
                paths += await self._reused(problem, reused[problem.problem_id])

            async def size() -> int:
                return await rounds.next(here) if rounds else self._rule.next_round(paths)

            try:
                await self._draw(problem, paths, size)
            finally:
                if rounds:
                    rounds.leave(here)
            selected = self._rule.select(paths)
            paths[:] = [
                replace(path, selected=True) if path.path_id in selected else path for path in paths
            ]
            if (reason := self._rule.drop_reason(paths)) is not None:
                raise ItemError(reason, f"{len(paths)} paths")
            return paths

        _, drops = await process_items(rows[PROBLEMS], lambda problem: problem.problem_id, one)
        paths = tuple(path for problem in rows[PROBLEMS] for path in drawn[problem.problem_id])
        return ShardResult(paths, tuple(drops), counts(paths, drops))

    async def _reused(self, problem: Problem, given: ReusedSolutions) -> list[Path]:
        paths = await taken(problem, given.solutions, self.kit.grader)
        return [
            replace(path, round=-1, selected=False, origin=origin)
            for path, origin in zip(paths, given.origins, strict=True)
        ]

    async def _draw(
        self, problem: Problem, paths: list[Path], next_round: Callable[[], Awaitable[int]]
    ) -> None:
        """Append rounds of paths until `next_round` returns 0."""
        chat = self._chat(problem)
        first_with = {path.text: path.path_id for path in reversed(paths)}
        number, before = 0, len(paths)
        while size := await next_round():
            start = len(paths)
            seed = self.kit.seed_of(problem.problem_id, start - before)
            reply = await self.kit.engine.generate(chat, replace(self._sampling, n=size, seed=seed))
            texts = [completion.after(chat.prefill) for completion in reply.completions]
            answers = [read_answer(text) for text in texts]
            verdicts = await self.kit.grader.grade(problem.answer, answers)
            for offset, (completion, text) in enumerate(zip(reply.completions, texts, strict=True)):
                path = self._path(
                    problem, start + offset, number, completion, text,
                    answers[offset], verdicts[offset],
                    self.kit.seed_of(problem.problem_id, start - before + offset),
                )  # fmt: skip
                twin = first_with.setdefault(text, path.path_id)
                paths.append(path if twin == path.path_id else replace(path, duplicate_of=twin))
            note_reply(Text(path.path_id, path.text, path.invalid_reason) for path in paths[start:])
            number += 1

    def _path(
        self,
        problem: Problem,
        index: int,
        number: int,
        completion: Completion,
        text: str,
        answer: str | None,
        right: bool,
        seed: int,
    ) -> Path:
        reason = flaw(completion.finish_reason, text, answer)
        return Path(
            path_id=f"{problem.problem_id}#{index}",
            problem_id=problem.problem_id,
            index=index,
            round=number,
            text=text,
            steps=list(steps.split(text)),
            finish_reason=completion.finish_reason,
            answer=answer,
            # A text that was cut off has no answer yet, even if it has a box.
            correct=right and completion.finish_reason == "stop",
            valid=reason is None,
            invalid_reason=reason,
            duplicate_of=None,
            selected=False,
            tokens=completion.tokens,
            seed=seed,
        )


async def taken(problem: Problem, solutions: Sequence[Response], grader: Grader) -> list[Path]:
    """The paths of a problem's solutions, in their order; those that are usable are selected.

    A solution without an answer is right where its file says so. Raises InfrastructureError.
    """
    rights = await grader.grade(problem.answer, [solution.answer for solution in solutions])
    first_with: dict[str, str] = {}
    paths = []
    for index, (solution, right) in enumerate(zip(solutions, rights, strict=True)):
        name, text = f"{problem.problem_id}#{index}", steps.join(solution.steps)
        known = solution.answer is not None or solution.correct is not None
        reason = flaw("stop", text, "known" if known else None)
        twin = first_with.setdefault(text, name)
        paths.append(
            Path(
                path_id=name,
                problem_id=problem.problem_id,
                index=index,
                round=0,
                text=text,
                steps=list(solution.steps),
                finish_reason="stop",
                answer=solution.answer,
                correct=right if solution.answer is not None else bool(solution.correct),
                valid=reason is None,
                invalid_reason=reason,
                duplicate_of=None if twin == name else twin,
                selected=reason is None and twin == name,
                tokens=0,
                seed=0,
            )
        )
    return paths


def counts(paths: Sequence[Path], drops: Sequence[Drop]) -> dict[str, int]:
    """Sums for the commit: `tokens`, and the number of paths of each kind.

    Those of rollouts that were reused are `reused`, and `selected` like others.
    """
    own = [path for path in paths if path.origin is None]
    fresh = [path for path in own if path.duplicate_of is None]
    reused = len(paths) - len(own)
    return ({"reused": reused} if reused else {}) | {
        "tokens": sum(path.tokens for path in paths),
        "sampled": len(own),
        "selected": sum(path.selected for path in paths),
        "correct": sum(path.valid and path.correct for path in fresh),
        "incorrect": sum(path.valid and not path.correct for path in fresh),
        "invalid": sum(not path.valid for path in fresh),
        "duplicates": len(own) - len(fresh),
        "problems_dropped": len(drops),
    }


def check_reuse(settings: StageSettings) -> None:
    """Refuse to reuse rollouts where the method forbids it. Raises ConfigurationError."""
    if not settings.sample.reuse_rollouts:
        return
    usual, own = StageSettings(), tuple(name for name in settings.road if name != REUSED.stage)
    if (own, settings.label.form, settings.consensus.rule) == (
        usual.road, usual.label.form, usual.consensus.rule,
    ):  # fmt: skip
        raise ConfigurationError(
            "`sample.reuse_rollouts`: road, labels and consensus are those of `genprm`, whose "
            "solutions are all sampled by the policy: leave it out, or choose another strategy"
        )
    if trees := [kind.stage for kind in (TREE, GROUNDED) if kind.stage in settings.road]:
        raise ConfigurationError(
            f"`sample.reuse_rollouts`: stage `{trees[0]}` takes each solution for a rollout of the "
            "bare problem, and these were chosen: leave it out, or estimate by stage `estimate`"
        )
    if settings.sample.select == "all" or settings.sample.budget == "knapsack":
        raise ConfigurationError(
            "`sample.reuse_rollouts` fills quotas: leave it out, or set `sample.select: quota` and "
            "`sample.budget: blind`"
        )


SAMPLE = Stage(
    rows=PATHS,
    role="policy",
    asks=("solve_system", "solve"),
    reads=(PROBLEMS, REUSED),
    without=(REUSED,),
    solves=True,
    says="samples solutions of every problem until it has right and wrong ones",
    settings=SampleSettings,
    check=check_reuse,
    check_input=check_examples,
    passed="sampled",
    passed_after={REUSED.stage: "reused or sampled"},
    lacks="""\
- A problem for which the policy found only right or only wrong solutions is not in the dataset.
""",
    whole=("select", "all"),
    drops=(*Unsampled, *Refusal),
    make=PolicySampler,
)
