"""Stages `inject` and `mislead`: one error in a solution whose steps are known to be right.

`inject` works by rule alone, without a model: an equation is made wrong, and the steps behind it
follow from the wrong number. Under `mislead` the completion model carries the solution on, and may
write the wrong step too.

Invariant: the first error of a row is the step that was altered. Its equation is false by exact
arithmetic, or it is exact and the answer comes out wrong though all else follows. Which solution,
kind and step are drawn depends on the run's seed alone. A solution that repairs its error, or whose
answer is right in spite of it, becomes a counted drop.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from actors.engines.contract import Chat, Completion, Refusal
from actors.workers.contract import ShardResult, process_items
from actors.workers.yields import note_reading
from storage.errors import ConfigurationError, ItemError
from storage.rows.kinds import ALTERED, GIVEN, INJECTED, MISLED, PATHS, PROBLEMS, ShardRows
from storage.rows.records import Injection, Path, Problem
from workflows.answers import read_answer
from workflows.formats.error_prompts import error_chat
from workflows.formats.solving import next_chat
from workflows.formats.steps import Flaw, flaw, opening, split
from workflows.injecting.claims import claims, numbers
from workflows.injecting.errors import MISPLACED, Error, drawn
from workflows.settings import StageSettings, sampling_of
from workflows.settings.injecting import InjectSettings, MisleadSettings
from workflows.stages.kit import KitStage, Stage

RULE = "rule"
"""Who put an error or carried it on, where no model did."""
_REPAIRS = re.compile(r"\b(?:correct(?:ion|ed|ing)|mistakes?|wait|actually|oops)\b", re.IGNORECASE)


class Uninjected(StrEnum):
    """Why a solution becomes no row; the list is closed."""

    NOT_KNOWN_RIGHT = "not_known_right"
    """Nobody says that its every step is right (`stages.inject.trust`), or its answer is wrong."""
    NO_ANSWER = "no_answer"
    """It boxes no answer, so that nothing would show whether the error reaches it."""
    FALSE_ALREADY = "false_already"
    """It is said to be right, and has an equation that is false."""
    NO_PLACE = "no_place"
    """None of its equations can have an error of these kinds that reaches the answer."""


class Unmisled(StrEnum):
    """Why a model's error or its continuation is not kept; the list is closed."""

    NOT_ONE_STEP = "not_one_step"
    """More than one step was written, or a step was written otherwise when it was carried on."""
    SAME_STEP = "same_step"
    """The right step was written again."""
    NOT_FALSE = "not_false"
    """The step has equations, and all of them hold, exactly or rounded."""
    REPAIRED = "repaired"
    """The continuation says that it corrects something, or goes back to the right number."""
    RIGHT_AGAIN = "right_again"
    """The answer is right in spite of the error."""


class Injector(KitStage[StageSettings]):
    """Puts one error into a solution by rule; a share of the solutions stays as it is."""

    settings: InjectSettings

    async def run(self, rows: ShardRows) -> ShardResult[Injection]:
        """A row per solution that is known to be right. Raises InfrastructureError.

        Drops, per solution: `Uninjected`; under `mislead` also `Unmisled` and flaws of texts.
        """
        self.settings = self.kit.own
        problems = {problem.problem_id: problem for problem in rows[PROBLEMS]}
        labels = {name: label for given in rows[GIVEN] for name, label in given.labels.items()}

        async def one(path: Path) -> list[Injection]:
            self._check(path, labels.get(path.path_id))
            rng = random.Random(self.kit.seed_of(path.path_id))
            if rng.random() < self.settings.untouched:
                return [self._row(path, path.steps)]
            return [await self._erring(problems[path.problem_id], path, rng)]

        entered = [path for path in rows[PATHS] if path.selected]
        made, drops = await process_items(entered, lambda path: path.path_id, one)
        kinds = Counter(row.kind for row in made)
        untouched = kinds.pop(None, 0)
        return ShardResult(
            tuple(made),
            tuple(drops),
            {"tokens": sum(row.tokens for row in made), "untouched": untouched}
            | {f"kind_{kind}": count for kind, count in sorted(kinds.items())},
        )

    def _check(self, path: Path, label: int | None) -> None:
        if not path.correct or (label != -1 and self.settings.trust == "labelled"):
            raise ItemError(Uninjected.NOT_KNOWN_RIGHT)
        if path.answer is None:
            raise ItemError(Uninjected.NO_ANSWER)
        for number, step in enumerate(path.steps, start=1):
            if any(claim.false for claim in claims(step)):
                raise ItemError(Uninjected.FALSE_ALREADY, f"step {number}")

    async def _erring(self, problem: Problem, path: Path, rng: random.Random) -> Injection:
        error = await self._by_rule(problem, path, rng, carried=True)
        return self._row(path, [*error.before, error.wrong, *(error.behind or ())], error)

    async def _by_rule(
        self, problem: Problem, path: Path, rng: random.Random, *, carried: bool
    ) -> Error:
        """The first drawn error; `carried`: of which the steps behind follow by rule too."""
        for error in drawn(problem.problem, path.steps, self.settings.kinds, rng):
            if not carried and error.kind not in MISPLACED:
                return error
            if error.behind is None:
                continue
            answer = read_answer("\n\n".join((error.wrong, *error.behind)))
            if answer is None or answer == path.answer:
                continue
            (right,) = await self.kit.grader.grade(problem.answer, [answer])
            if not right:
                return error
        raise ItemError(Uninjected.NO_PLACE)

    def _row(
        self,
        path: Path,
        steps: Sequence[str],
        error: Error | None = None,
        by: str = RULE,
        carried_by: str = RULE,
        tokens: int = 0,
    ) -> Injection:
        return Injection(
            path_id=path.path_id,
            problem_id=path.problem_id,
            steps=list(steps),
            first_error=len(error.before) if error else None,
            kind=error.kind if error else None,
            original=error.original if error else None,
            by=by if error else None,
            carried_by=carried_by if error else None,
            answer=read_answer("\n\n".join(steps)),
            correct=error is None,
            seed=self.kit.seed_of(path.path_id),
            tokens=tokens,
        )


class Misleader(Injector):
    """Puts one error into a solution, by rule or by the model, which then carries it on."""

    settings: MisleadSettings

    async def _erring(self, problem: Problem, path: Path, rng: random.Random) -> Injection:
        if self.settings.by == "rule":
            error, spent, by = await self._by_rule(problem, path, rng, carried=False), 0, RULE
        else:
            error, spent = await self._by_model(problem, path, rng)
            by = self.kit.model
        steps, tokens = await self._carried(problem, path, error)
        return self._row(path, steps, error, by, self.kit.model, spent + tokens)

    async def _by_model(
        self, problem: Problem, path: Path, rng: random.Random
    ) -> tuple[Error, int]:
        """The step that the model writes in the place of a drawn one, and its tokens."""
        kind, step = rng.choice(self.settings.kinds), rng.randrange(max(1, len(path.steps) - 1))
        before, right = tuple(path.steps[:step]), path.steps[step]
        words = kind.replace("_", " ")
        done = await self._ask(
            error_chat(problem.problem, before, right, words, self.kit.texts), path, "error"
        )
        wrong = done.text.strip()
        with note_reading(path.path_id, done.text):
            if done.finish_reason != "stop":
                raise ItemError(Flaw.TRUNCATED, f"{done.tokens} tokens")
            if not wrong:
                raise ItemError(Flaw.EMPTY_STEP)
            if "\n\n" in wrong or len(split(wrong)) != 1:
                raise ItemError(Unmisled.NOT_ONE_STEP)
        if wrong == right.strip():
            raise ItemError(Unmisled.SAME_STEP)
        if (made := claims(wrong)) and not any(claim.false for claim in made):
            raise ItemError(Unmisled.NOT_FALSE)
        return Error(kind, before, right, wrong, None), done.tokens

    async def _carried(self, problem: Problem, path: Path, error: Error) -> tuple[list[str], int]:
        """The whole solution with the steps that the model writes behind the error, its tokens."""
        given = [*error.before, error.wrong]
        chat = next_chat(self.kit.settings.sample, self.kit.texts)(problem, opening(given))
        done = await self._ask(chat, path, "carry")
        text = done.after(chat.prefill)
        steps, answer = list(split(text)), read_answer(text)
        with note_reading(path.path_id, text):
            if why := flaw(done.finish_reason, text, answer):
                raise ItemError(why)
            if steps[: len(given)] != given:
                raise ItemError(Unmisled.NOT_ONE_STEP)
        behind = "\n\n".join(steps[len(given) :])
        taken = numbers("\n\n".join((problem.problem, *given)))
        if _REPAIRS.search(behind) or (numbers(error.original) - taken) & numbers(behind):
            raise ItemError(Unmisled.REPAIRED)
        (right,) = await self.kit.grader.grade(problem.answer, [answer])
        if right:
            raise ItemError(Unmisled.RIGHT_AGAIN)
        return steps, done.tokens

    async def _ask(self, chat: Chat, path: Path, what: str) -> Completion:
        seed = self.kit.seed_of(f"{path.path_id}\x1f{what}")
        sampling = replace(sampling_of(self.settings), n=1, seed=seed)
        return (await self.kit.engine.generate(chat, sampling)).completions[0]


def _check(settings: StageSettings) -> None:
    there = [kind.stage for kind in ALTERED if kind.stage in settings.road]
    if len(there) > 1:
        raise ConfigurationError(
            f"`stages.road` has {' and '.join(there)}: one of them puts the errors, leave out the "
            "other"
        )
    (name,) = there
    if settings.road[settings.road.index(name) - 1] != PATHS.stage:
        raise ConfigurationError(f"`stages.road`: put {name!r} right behind {PATHS.stage!r}")
    if not getattr(settings, name).kinds:
        raise ConfigurationError(f"`stages.{name}.kinds` is empty: name a kind of error")


PASSED = "with an error put into them, or left as they are"
CAVEAT = """\
- Wrong solutions are right ones into which one error was put. The first wrong step is known by
  construction; what errors there are was chosen, and is no sample of what a model gets wrong.
"""
INJECT = Stage(
    rows=INJECTED,
    role="cpu",
    reads=(PROBLEMS, GIVEN, PATHS),
    says="puts one error into a solution that is known to be right, and carries it on by rule",
    settings=InjectSettings,
    check=_check,
    passed=PASSED,
    caveat=CAVEAT,
    drops=tuple(Uninjected),
    make=Injector,
)
MISLEAD = Stage(
    rows=MISLED,
    role="completer",
    asks=("solve_system", "solve", "error_system", "error"),
    reads=(PROBLEMS, GIVEN, PATHS),
    solves=True,
    says="does the same with a model that carries the error on, and may write it too",
    settings=MisleadSettings,
    check=_check,
    passed=PASSED,
    caveat=CAVEAT,
    drops=(*Uninjected, *Unmisled, *Flaw, *Refusal),
    make=Misleader,
)
