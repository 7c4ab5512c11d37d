"""Views of the judge's strategies: solutions that end where a label is wanted, and repaired steps.

    last_step_balanced   each solution cut so that its last step is the one to judge; as many
                         wrong as right ones, every other step masked               (FoVer)
    intervention         right steps and a replacement for the wrong one, no suffix (InT)

Invariant: pure in one shard's rows; a cut solution ends at its first wrong step or before it, and
no text that a path wrote after its first error is in an intervention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.datasets.view import View
from storage.rows.kinds import RETRIED
from storage.rows.records import Example, Intervention, Message
from workflows.formats import steps as solution_steps


@dataclass(frozen=True, slots=True)
class LastStep:
    """A conversation whose last turn alone is trained on."""

    conversations: list[Message]
    error_labels: list[bool | None]
    """T values, True where the step is wrong; None but for the last one: masked."""
    problem_id: str
    path_id: str


@dataclass(frozen=True, slots=True)
class Intervened:
    """What should have been written at the first error."""

    prompt: list[Message]
    completion: list[Message]
    """The right steps before it and its replacement."""
    step: int
    """0-based index of the replaced step."""
    wrong: str
    successes: int
    continuations: int
    problem_id: str
    path_id: str


def last_step_balanced(examples: Sequence[Example]) -> list[LastStep]:
    """As many examples that end with their first wrong step as examples that end with a right one.

    An example without a right step before an error can only end wrong, one without an error only
    right, at its last step; the others are shared out so that the classes fill up evenly, and end
    right just before the error. What one class has too much of is left out, the last first.
    """
    wrong_only, right_only, either = [], [], []
    for place, example in enumerate(examples):
        if example.first_error is None:
            right_only.append(place)
        elif example.first_error == 0:
            wrong_only.append(place)
        else:
            either.append(place)
    pairs = min(len(examples) // 2, len(wrong_only) + len(either), len(right_only) + len(either))
    wrong = set(wrong_only[:pairs])
    wrong |= set(either[: pairs - len(wrong)])
    right = set(right_only[:pairs])
    right |= set([place for place in either if place not in wrong][: pairs - len(right)])
    return [
        _ending(example, place in wrong)
        for place, example in enumerate(examples)
        if place in wrong or place in right
    ]


def _ending(example: Example, wrong: bool) -> LastStep:
    if example.first_error is None:
        steps = len(example.labels)
    else:
        steps = example.first_error + 1 if wrong else example.first_error
    masked: list[bool | None] = [None] * (steps - 1)
    return LastStep(
        example.conversations[: 1 + 2 * steps],
        [*masked, wrong],
        example.problem_id,
        example.path_id,
    )


def intervened(rows: Sequence[Intervention]) -> list[Intervened]:
    """The interventions that helped, in their order."""
    return [
        Intervened(
            [Message("user", row.problem)],
            [Message("assistant", solution_steps.join([*row.prefix, row.replacement]))],
            row.step,
            row.wrong,
            row.c,
            row.n,
            row.problem_id,
            row.path_id,
        )
        for row in rows
        if row.kept
    ]


LAST_STEP = View(
    name="last_step_balanced",
    title="Conversations cut so that the last step is the one to judge: as many wrong as right "
    "ones, every other step masked (`error_labels` is null there).",
    row_type=LastStep,
    rows=last_step_balanced,
)
INTERVENTION = View(
    name="intervention",
    title="The right steps of a solution and one replacement for its first wrong step, from which "
    "continuations reached the answer.",
    row_type=Intervened,
    rows=intervened,
    reads=(RETRIED.stage,),
    trl="""\
from trl import SFTConfig, SFTTrainer
rows = dataset.select_columns(["prompt", "completion"])
SFTTrainer("BASE", args=SFTConfig("OUT"), train_dataset=rows).train()
""",
)
