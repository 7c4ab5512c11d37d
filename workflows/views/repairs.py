"""Views of the judge's strategies: solutions cut at a labelled step, and repaired steps.

    last_step_balanced   Solutions cut so that only the last step is judged, all others masked;
                         as many wrong last steps as right ones (FoVer).
    intervention         Right steps and a replacement for the first wrong one (InT).

Invariant: depends only on a shard's rows. A cut solution ends at its first wrong step or before
it. An intervention has no text from after the first error.
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
    """A conversation of which only the last turn is trained on."""

    conversations: list[Message]
    error_labels: list[bool | None]
    """T values: None (masked) for all steps but the last; True if the last step is wrong."""
    problem_id: str
    path_id: str


@dataclass(frozen=True, slots=True)
class Intervened:
    """A replacement for the first wrong step of a solution."""

    prompt: list[Message]
    completion: list[Message]
    """The right steps before the wrong one, and its replacement."""
    step: int
    """0-based index of the replaced step."""
    wrong: str
    successes: int
    continuations: int
    problem_id: str
    path_id: str


def last_step_balanced(examples: Sequence[Example]) -> list[LastStep]:
    """Cut examples so that equally many end with their first wrong step and with a right step.

    An example whose first step is wrong can only end wrong. One without an error can only end
    right, at its last step. All others can do both, and end right just before the error; they
    even out the classes. What is left over in a class is left out, the last examples first.
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
    """A row per intervention that helped (`kept`), in their order."""
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
