"""A run's rows as other reward models are trained on: step ends, outcomes, counts, pairs.

    discriminative   a label at the end of each step, hard and soft    (Math-Shepherd, Qwen's PRM)
    orm              every sampled solution with its outcome           (ImplicitPRM, PRIME, KTO)
    counts           right rollouts and rollouts per step              (Beta-binomial PRMs)
    pairs            a right and a wrong solution of one problem       (DPO, Bradley-Terry)

Columns that a trainer reads have the names that TRL gives them: `prompt`, `completion`, `chosen`
and `rejected` are lists of messages; step-wise rows have texts, `completions` and `labels`.

Invariant: pure in one shard's rows; what was sampled is neither joined, cut nor invented, and a
number of rollouts is the number that was made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from storage.datasets.view import View
from storage.rows.kinds import EXAMPLES, LABELS, PATHS, PROBLEMS, ROLLOUTS
from storage.rows.records import Example, Message, Path, PathLabels, Problem, StateRollouts
from workflows.formats.conversation import steps_of


@dataclass(frozen=True, slots=True)
class StepLabelled:
    """A kept solution with a label at the end of each of its T steps."""

    prompt: str
    completions: list[str]
    """T texts, one per step."""
    labels: list[bool]
    """T hard labels, as the run's rule and consensus left them."""
    soft_labels: list[float]
    """T values: MC after the step, 0 after the first 0; the last one is the outcome. None where
    nothing was rolled out."""
    values: list[float]
    """T values that the label rule compared with its threshold: a ratio, a prover's advantage, MC
    over MC(s1). None where the run has no stage `label`."""
    first_error: int | None
    problem_id: str
    path_id: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One sampled solution, selected or not, and whether its answer is right."""

    prompt: list[Message]
    completion: list[Message]
    label: bool
    """Right answer, reached by a valid solution."""
    answer: str | None
    valid: bool
    invalid_reason: str | None
    duplicate_of: str | None
    """path_id of the first sample with exactly this text: leave the others out where each text
    should count once."""
    problem_id: str
    path_id: str


@dataclass(frozen=True, slots=True)
class StepCounts:
    """The rollouts from each state of a solution of T steps; state t follows its first t steps."""

    prompt: str
    completions: list[str]
    """T texts, one per step."""
    successes: list[int]
    """T values: right rollouts from states 0..T-1."""
    rollouts: list[int]
    """T values; 0 where none were made."""
    correct: bool
    """The last state's outcome: its own answer, no rollout."""
    problem_id: str
    path_id: str


@dataclass(frozen=True, slots=True)
class Preference:
    """Two solutions of one problem: the chosen one has the right answer."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    problem_id: str
    chosen_path_id: str
    rejected_path_id: str


def step_labelled(
    problems: Sequence[Problem], labels: Sequence[PathLabels], examples: Sequence[Example]
) -> list[StepLabelled]:
    """A row per example, in their order; its steps are the example's own, for a tree's are no
    sampled path's.
    """
    texts = {row.problem_id: row.problem for row in problems}
    values = {row.path_id: row.value for row in labels}
    return [
        StepLabelled(
            texts[row.problem_id],
            steps_of(row, texts[row.problem_id]),
            row.labels,
            row.mc[1:],
            values.get(row.path_id, [])[: len(row.labels)],
            row.first_error,
            row.problem_id,
            row.path_id,
        )
        for row in examples
    ]


def outcomes(problems: Sequence[Problem], paths: Sequence[Path]) -> list[Outcome]:
    """A row per sampled path, in their order."""
    texts = {row.problem_id: row.problem for row in problems}
    return [
        Outcome(
            _asked(texts[row.problem_id]),
            _answered(row),
            row.correct and row.valid,
            row.answer,
            row.valid,
            row.invalid_reason,
            row.duplicate_of,
            row.problem_id,
            row.path_id,
        )
        for row in paths
    ]


def step_counts(
    problems: Sequence[Problem], paths: Sequence[Path], rollouts: Sequence[StateRollouts]
) -> list[StepCounts]:
    """A row per path with rollouts, in the order of the paths; rounds are summed."""
    texts = {row.problem_id: row.problem for row in problems}
    made: dict[str, list[StateRollouts]] = defaultdict(list)
    for row in rollouts:
        made[row.path_id].append(row)
    found = []
    for path in paths:
        if path.path_id in made:
            successes, totals = [0] * len(path.steps), [0] * len(path.steps)
            for row in made[path.path_id]:
                successes[row.state] += row.c
                totals[row.state] += row.n
            found.append(
                StepCounts(
                    texts[path.problem_id],
                    path.steps,
                    successes,
                    totals,
                    path.correct,
                    path.problem_id,
                    path.path_id,
                )
            )
    return found


def preferences(problems: Sequence[Problem], paths: Sequence[Path]) -> list[Preference]:
    """Per problem its right solutions paired with its wrong ones, each used once, in their order.

    Only valid solutions, and each text once; what is left over of the larger class stays out.
    """
    fresh: dict[str, tuple[list[Path], list[Path]]] = {row.problem_id: ([], []) for row in problems}
    for path in paths:
        if path.valid and path.duplicate_of is None:
            fresh[path.problem_id][not path.correct].append(path)
    return [
        Preference(
            _asked(row.problem),
            _answered(right),
            _answered(wrong),
            row.problem_id,
            right.path_id,
            wrong.path_id,
        )
        for row in problems
        for right, wrong in zip(*fresh[row.problem_id], strict=False)
    ]


def _asked(problem: str) -> list[Message]:
    return [Message("user", problem)]


def _answered(path: Path) -> list[Message]:
    return [Message("assistant", path.text)]


DISCRIMINATIVE = View(
    "discriminative",
    "Solutions that passed consensus, with a hard and a soft label at the end of each step.",
    StepLabelled,
    step_labelled,
    (PROBLEMS.stage, LABELS.stage, EXAMPLES.stage),
    (LABELS.stage,),
)
ORM = View(
    "orm",
    "Every sampled solution, whether it was selected or not, with its outcome.",
    Outcome,
    outcomes,
    (PROBLEMS.stage, PATHS.stage),
    trl="""\
from trl import KTOConfig, KTOTrainer
KTOTrainer("BASE", args=KTOConfig("OUT"), train_dataset=dataset).train()
""",
)
COUNTS = View(
    "counts",
    "Solutions with the right rollouts and the rollouts of each state, kept by consensus or not.",
    StepCounts,
    step_counts,
    (PROBLEMS.stage, PATHS.stage, ROLLOUTS.stage),
)
PAIRS = View(
    "pairs",
    "Pairs of a right and a wrong solution of the same problem.",
    Preference,
    preferences,
    (PROBLEMS.stage, PATHS.stage),
    trl="""\
from trl import DPOConfig, DPOTrainer
DPOTrainer("BASE", args=DPOConfig("OUT"), train_dataset=dataset).train()
""",
)
