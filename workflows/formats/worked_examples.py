"""Worked examples in prompts, for models that keep no form without them: base models, small ones.

Each example is a user turn and an assistant turn before the real question. A verification is shown
without the marks of a thought, which chat templates cut out of earlier turns.

Invariant: examples are texts of the configuration, in the form that the stages read. None of them
is a problem of the input, since a prompt would then show its answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from storage.errors import ConfigurationError, ItemError
from storage.rows.kinds import PATHS, RATIONALES
from storage.rows.records import Message, Problem
from workflows.answers import read_answer
from workflows.formats import prompts, steps
from workflows.formats.rationale import paragraphs
from workflows.formats.steps import flaw
from workflows.formats.templates import AS_THEY_ARE, Texts
from workflows.settings import StageSettings, WorkedRationale, WorkedSolution


def solution_turns(
    examples: Sequence[WorkedSolution], texts: Texts = AS_THEY_ARE
) -> tuple[Message, ...]:
    """The turns before a problem to solve."""
    turns: list[Message] = []
    for shown in examples:
        question = prompts.SOLVE.of(texts, problem=shown.problem)
        turns += (Message("user", question), Message("assistant", shown.solution.strip()))
    return tuple(turns)


def rationale_turns(
    examples: Sequence[WorkedRationale],
    state_verdict: bool = False,
    require_code: bool = True,
    texts: Texts = AS_THEY_ARE,
) -> tuple[Message, ...]:
    """The turns before a solution to verify."""
    turns: list[Message] = []
    for shown in examples:
        chat = prompts.rationale_chat(
            shown.problem, shown.steps, state_verdict, require_code, texts
        )
        verified = f"{shown.verification.strip()}\n\n{prompts.FINAL}{shown.first_error}}}"
        turns += (Message("user", chat.user), Message("assistant", verified))
    return tuple(turns)


def check_examples(settings: StageSettings, problems: Sequence[Problem]) -> None:
    """Raise ConfigurationError for examples of another form, and for problems of the input."""
    wrong = [*_of_other_form(settings), *_of_the_input(settings, problems)]
    if wrong:
        raise ConfigurationError("; ".join(wrong))


def _of_other_form(settings: StageSettings) -> Iterator[str]:
    for number, solved in enumerate(settings.sample.examples):
        if reason := flaw("stop", solved.solution, read_answer(solved.solution)):
            yield (
                f"`stages.sample.examples.{number}`: such a solution would be invalid ({reason}): "
                f"write at least two steps, from {steps.header(1).strip()!r} on, and a boxed answer"
            )
    for number, verified in enumerate(settings.rationalize.examples):
        name = f"stages.rationalize.examples.{number}"
        try:
            paragraphs(verified.verification, len(verified.steps))
        except ItemError as error:
            yield f"`{name}`: such a verification would be dropped ({error}): correct it"
        if verified.first_error not in (-1, *range(1, len(verified.steps) + 1)):
            yield f"`{name}.first_error`: give -1, or the number of a step, from 1"


def _of_the_input(settings: StageSettings, problems: Sequence[Problem]) -> Iterator[str]:
    names = {" ".join(problem.problem.split()): problem.problem_id for problem in problems}
    for stage in (PATHS.stage, RATIONALES.stage):
        for number, example in enumerate(getattr(settings, stage).examples):
            if named := names.get(" ".join(example.problem.split())):
                yield (
                    f"`stages.{stage}.examples.{number}` is problem {named!r} of the input, whose "
                    "answer it would show: take another problem"
                )
