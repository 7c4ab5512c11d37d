"""Stage `estimate`: Monte-Carlo rollouts from the states of every selected path of a shard.

State 0, the bare problem, is rolled out once per problem: a probe chooses K, and more rollouts fill
it up to K. The budget decides which rollouts each path asks for next, from left to right. Each
prompt then extends one that the engine's prefix cache holds. Many paths are in flight at once.

Invariant: counts are a pure function of (run seed, problem, prefix, number of rollouts). Paths with
the same beginning share its rollouts; the first of them in input order counts their tokens. A
rollout without a box is wrong, and so is one that was cut unless `estimate.cut` says otherwise. All
rollouts become rows, also those of dropped paths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

from actors.engines.contract import Refusal
from actors.workers.contract import ShardResult, process_items
from actors.workers.yields import Text, note_reply, solution_flaw
from storage.rows.kinds import PATHS, PROBLEMS, PROVED, ROLLOUTS, ShardRows
from storage.rows.records import AnswerCount, KeptRollout, Path, Problem, StateRollouts
from storage.runs.specs import Difference, Spec
from storage.seeds import prefix_name, request_seed
from workflows.answers import read_answer
from workflows.answers.last_number import last_number
from workflows.estimation.budgets import budget_of, check_budget
from workflows.estimation.cut import check_cut
from workflows.estimation.ledger import Ledger, Rollouts, State, first_rounds
from workflows.formats import steps
from workflows.formats.solving import next_chat
from workflows.labels.rule import Unlabelled
from workflows.labels.support import RIGHT_ANSWER
from workflows.settings import SMOOTHED, EstimateSettings, StageSettings, sampling_of
from workflows.stages.kit import Kit, KitStage, Stage


class Completer(KitStage[StageSettings]):
    """Rolls out states with the completion model."""

    def __init__(self, kit: Kit[StageSettings], stage: str = ROLLOUTS.stage) -> None:
        """`stage`: `estimate`, or `prover` behind it; seeds depend on it.

        The prover rolls out only paths that `estimate` did not drop.
        """
        super().__init__(kit)
        settings = kit.settings.estimate
        self._stage = stage
        self._chat = next_chat(kit.settings.sample, kit.texts)
        self._sampling = sampling_of(settings)
        self._budget = budget_of(settings, kit.settings.label, kit.chain)
        self._wrong_only = settings.paths == "wrong"
        self._cut = settings.cut
        self._keeps = settings.keep_texts if stage == ROLLOUTS.stage else 0
        self._from_policy = stage == ROLLOUTS.stage and settings.start == "policy"

    async def run(self, rows: ShardRows) -> ShardResult[StateRollouts]:
        """Estimate the states of all selected paths of a shard.

        Drops, per path: `mc_zero_start` if no rollout from the bare problem is right, `all_cut` if
        none of another state counts, `too_long` if a prefix leaves no room in the context, or less
        than the path itself takes from there. Raises InfrastructureError.
        """
        problems = {problem.problem_id: problem for problem in rows[PROBLEMS]}
        shard = self.ledger(problems)
        if self._from_policy:
            shard.start_from(first_rounds(rows[PATHS]))
        selected = [path for path in rows[PATHS] if path.selected]
        if self._stage != ROLLOUTS.stage:
            estimated = {row.path_id for row in rows[ROLLOUTS] if row.state == 0 and row.c}
            selected = [path for path in selected if path.path_id in estimated]
        try:
            _, drops = await process_items(selected, lambda path: path.path_id, shard.estimate)
        finally:
            await shard.close()
        rolled = [self.row(*entry) for entry in shard.entries(selected)]
        return ShardResult(
            tuple(rolled),
            tuple(drops),
            {
                "tokens": sum(row.tokens for row in rolled),
                "rollouts": sum(row.n for row in rolled if not row.shared),
                "truncated": sum(row.truncated for row in rolled if not row.shared),
                "shared_rollouts": sum(row.n for row in rolled if row.shared),
            },
        )

    def ledger(self, problems: Mapping[str, Problem]) -> Ledger:
        """A ledger for a shard with these problems, by problem_id."""
        return Ledger(self.roll, states, self._spares, self._budget, problems, self._length)

    async def roll(self, problem: Problem, state: State, start: int, n: int) -> Rollouts:
        """Draw rollouts `start` to `start + n - 1` of a state, and grade their answers."""
        item = f"{problem.problem_id}\x1f{prefix_name(state.steps)}"
        seed = request_seed(self.kit.seed, self._stage, item, start)
        chat = self._chat(problem, state.opening)
        reply = await self.kit.engine.generate(chat, replace(self._sampling, n=n, seed=seed))
        ends = [
            read_answer(done.text) if done.finish_reason == "stop" else self._of_cut(done.text)
            for done in reply.completions
        ]
        note_reply(
            Text(problem.problem_id, done.text, solution_flaw(done.finish_reason, answer))
            for done, answer in zip(reply.completions, ends, strict=True)
        )
        ended = Counter(ends)
        answers = sorted(ended, key=lambda answer: (-ended[answer], answer is None, answer or ""))
        verdicts = await self.kit.grader.grade(problem.answer, answers)
        table = tuple(
            AnswerCount(answer, ended[answer], right and answer is not None)
            for answer, right in zip(answers, verdicts, strict=True)
        )
        right = {row.answer for row in table if row.correct}
        texts = (done.after(chat.prefill) for done in reply.completions)
        cut = [done.finish_reason != "stop" for done in reply.completions]
        return Rollouts(
            n=len(reply.completions),
            c=sum(row.count for row in table if row.correct),
            answers=table,
            truncated=sum(cut),
            tokens=sum(done.tokens for done in reply.completions),
            seed=seed,
            cut_right=(
                sum(at and end in right for at, end in zip(cut, ends, strict=True))
                if self._cut == "last_number"
                else None
            ),
            censored=self._cut == "censored",
            room=min(
                (
                    done.tokens
                    for done in reply.completions
                    if done.finish_reason == "length" and done.tokens < self._sampling.max_tokens
                ),
                default=None,
            ),
            kept=tuple(
                KeptRollout(index, text, done.finish_reason, end, end in right, done.tokens)
                for index, text, done, end in zip(
                    range(start, self._keeps), texts, reply.completions, ends, strict=False
                )
            ),
        )

    def _of_cut(self, text: str) -> str | None:
        """The answer of a rollout that was cut."""
        if self._cut != "last_number":
            return None
        return read_answer(text) or last_number(text)

    def _length(self, path: Path, state: int) -> int:
        """Tokens of a path's steps behind a state; words where the model has no tokenizer here."""
        spell = self.kit.spell or str.split
        return sum(len(spell(step)) for step in path.steps[state:])

    def _spares(self, path: Path) -> bool:
        """Whether a path gets rollouts of state 0 only."""
        return self._wrong_only and path.correct

    def row(
        self, path: Path, state: int, number: int, parts: Sequence[Rollouts], shared: bool
    ) -> StateRollouts:
        """The row of one state and round, from one request or several."""
        total: Counter[tuple[str | None, bool]] = Counter()
        for part in parts:
            for answer in part.answers:
                total[answer.answer, answer.correct] += answer.count
        return StateRollouts(
            path_id=path.path_id,
            problem_id=path.problem_id,
            state=state,
            round=number,
            n=sum(part.n for part in parts),
            c=sum(part.c for part in parts),
            answers=[
                AnswerCount(answer, count, correct)
                for (answer, correct), count in sorted(
                    total.items(), key=lambda item: (-item[1], item[0][0] is None, item[0][0] or "")
                )
            ],
            truncated=sum(part.truncated for part in parts),
            stop_rule=RIGHT_ANSWER if self._spares(path) else self._budget.stop_rule,
            shared=shared,
            model=self.kit.model,
            seed=parts[0].seed,
            tokens=0 if shared else sum(part.tokens for part in parts),
            cut=None if self._cut == "wrong" else self._cut,
            cut_right=(
                sum(part.cut_right or 0 for part in parts) if self._cut == "last_number" else None
            ),
            kept=(None if shared else [*chain(*(part.kept for part in parts))]) or None,
        )


def states(path: Path) -> list[State]:
    """States 0..T-1 of a path of T steps, from which rollouts may start."""
    openings = steps.openings(path.text, path.steps)
    return [State(tuple(path.steps[:at]), opening) for at, opening in enumerate(openings)]


def check_rollouts(settings: StageSettings) -> None:
    """Refuse a budget that can't give the labels of the settings. Raises ConfigurationError."""
    check_budget(settings.estimate, settings.label)
    check_cut(settings.estimate, settings.road)


def rolled_anew(setting: str, difference: Difference, spec: Spec) -> bool | None:
    """A changed pilot remakes rollouts only if the budget smooths them (`SMOOTHED`)."""
    if setting not in ("estimate.pilot", "estimate.pilot_paths"):
        return None
    return spec.configuration["stages"][ROLLOUTS.stage]["mc_budget"] in SMOOTHED


ROLLOUT_TOKENS = "stages.estimate.max_tokens"
ESTIMATE = Stage(
    rows=ROLLOUTS,
    role="completer",
    asks=("solve_system", "solve"),
    reads=(PROBLEMS, PATHS),
    solves=True,
    says="rolls out from every state of every selected path: Monte-Carlo estimation",
    settings=EstimateSettings,
    check=check_rollouts,
    redone=rolled_anew,
    drops=(Unlabelled.MC_ZERO_START, Unlabelled.ALL_CUT, *Refusal),
    make=Completer,
)
PROVER = Stage(
    rows=PROVED,
    role="prover",
    asks=("solve_system", "solve"),
    reads=(PROBLEMS, PATHS, ROLLOUTS),
    solves=True,
    longest=ROLLOUT_TOKENS,
    says="rolls out from the same states with another model",
    also=(ROLLOUTS.stage,),
    check=check_rollouts,
    redone=rolled_anew,
    drops=(Unlabelled.MC_ZERO_START, Unlabelled.ALL_CUT, *Refusal),
    make=partial(Completer, stage=PROVED.stage),
)
