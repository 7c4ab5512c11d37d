"""Views of a run's rows for other reward models: step labels, outcomes, counts, pairs.

    discriminative   A label at the end of each step, hard and soft (Math-Shepherd, Qwen's PRM).
    orm              Every sampled solution with its outcome (ImplicitPRM, PRIME, KTO).
    counts           Right rollouts and rollouts per step (Beta-binomial PRMs).
    pairs            A right and a wrong solution of a problem (DPO, Bradley-Terry).

Columns that a trainer reads have TRL's names. `prompt`, `completion`, `chosen` and `rejected` are
lists of messages; step-wise rows have texts, in `prompt` and `completions`, and `labels`.

Invariant: depends only on a shard's rows. Sampled texts stay whole and separate, and numbers of
rollouts are those that were made.
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
    """A solution that passed consensus, with a label at the end of each of its T steps."""

    prompt: str
    completions: list[str]
    """T texts, one per step."""
    labels: list[bool]
    """T hard labels, by the run's label rule and consensus."""
    soft_labels: list[float]
    """T values: MC after the step, 0 after the first 0; the last one is the outcome. Empty without
    rollouts."""
    values: list[float]
    """T values that the label rule compared with its threshold: a ratio, a prover's advantage, MC
    over MC(s1). Empty if the run has no stage `label`."""
    first_error: int | None
    problem_id: str
    path_id: str
    follows: list[bool]
    """T values: whether the label is wrong only because an earlier step is."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A sampled solution, selected or not, and whether its answer is right."""

    prompt: list[Message]
    completion: list[Message]
    label: bool
    """Whether the solution is valid and its answer right."""
    answer: str | None
    valid: bool
    invalid_reason: str | None
    duplicate_of: str | None
    """path_id of the first sample with exactly this text. To count each text once, leave out rows
    that have one."""
    problem_id: str
    path_id: str


@dataclass(frozen=True, slots=True)
class StepCounts:
    """Counts of rollouts from each state of a solution of T steps. State t follows t steps."""

    prompt: str
    completions: list[str]
    """T texts, one per step."""
    successes: list[int]
    """T values: right rollouts from states 0..T-1."""
    rollouts: list[int]
    """T values: rollouts from states 0..T-1."""
    correct: bool
    """Whether the solution's own answer is right: the outcome of state T."""
    problem_id: str
    path_id: str


@dataclass(frozen=True, slots=True)
class Preference:
    """Two solutions of a problem: the chosen one has the right answer, the rejected one a wrong."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    problem_id: str
    chosen_path_id: str
    rejected_path_id: str


def step_labelled(
    problems: Sequence[Problem], labels: Sequence[PathLabels], examples: Sequence[Example]
) -> list[StepLabelled]:
    """A row per example, in their order. Its steps are read from the example, since those of a
    search tree are no sampled path's.
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
            row.follows,
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
    """A row per path that has rollouts, in the order of the paths; rounds are summed."""
    texts = {row.problem_id: row.problem for row in problems}
    of_path: dict[str, list[StateRollouts]] = defaultdict(list)
    for row in rollouts:
        of_path[row.path_id].append(row)
    counted = []
    for path in paths:
        if path.path_id in of_path:
            successes, totals = [0] * len(path.steps), [0] * len(path.steps)
            for row in of_path[path.path_id]:
                successes[row.state] += row.c
                totals[row.state] += row.counted
            counted.append(
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
    return counted


def preferences(problems: Sequence[Problem], paths: Sequence[Path]) -> list[Preference]:
    """Pairs of a right and a wrong solution per problem, in their order, each solution used once.

    Only valid solutions, each text once. The rest of the larger class is left out.
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
