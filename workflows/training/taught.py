"""What a model that reads learns of a run: solutions with a target at the end of their steps.

    discriminative  solutions that passed consensus, a target for each step:
                    hard        the label
                    soft        MC behind the step, 0 after the first 0
                    binomial    the same, weighed by its number of rollouts
    value           the same solutions; the value that the label rule compared (a ratio, MC over
                    MC(s1) as SCAN's, a prover's advantage as PAV's), onto [0, 1]
    orm, implicit   every sampled solution whose text is new, its outcome at its last step

Invariant: a target is in [0, 1], depends on the run's rows alone, and stands at the same step
whatever the tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

from actors.models.rewards import Kind, RewardModel
from storage.errors import ConfigurationError
from storage.rows.kinds import EXAMPLES, LABELS, PATHS
from storage.rows.records import Example, PathLabels
from storage.runs.run import Run
from workflows.formats.conversation import steps_of
from workflows.runs.several import Key, solution_key, texts_in
from workflows.settings import LabelSettings
from workflows.training.settings import HeadSettings

OF_OUTCOMES: tuple[Kind, ...] = ("orm", "implicit")
"""Kinds that learn a solution's outcome alone."""
_LABEL = LABELS.stage


@dataclass(frozen=True, slots=True)
class Taught:
    """A solution of T steps, with targets at the first V of them, or at the last one alone."""

    path_id: str
    problem_id: str
    problem: str
    steps: tuple[str, ...]
    marks: tuple[int, ...]
    """V indices of steps."""
    labels: tuple[bool, ...]
    targets: tuple[float, ...]
    weights: tuple[float, ...]
    """V numbers: what each target counts for."""

    @property
    def key(self) -> Key:
        """Equal for equal solutions."""
        return solution_key(self.problem, self.steps)


def teaching(reward: RewardModel, head: HeadSettings) -> Callable[[Run], Lessons] | None:
    """What makes the lessons of a run for a model; None: it learns conversations."""
    return partial(Lessons, kind=reward.kind, head=head) if reward.reads else None


class Lessons:
    """Makes what is taught of one run."""

    def __init__(self, run: Run, kind: Kind, head: HeadSettings) -> None:
        """Raises ConfigurationError for a run that lacks the rows that the targets come from."""
        self._run, self._kind, self._head = run, kind, head
        needs = [PATHS.stage] if kind in OF_OUTCOMES else [EXAMPLES.stage]
        if kind == "value" or (kind == "discriminative" and head.targets != "hard"):
            needs.append(_LABEL)
        for stage in needs:
            if stage not in run.spec.stages:
                raise ConfigurationError(
                    f"run {run.name!r} has no stage {stage!r}, which the targets of kind {kind!r} "
                    "come from"
                )

    def of_shard(self, shard: int) -> Iterator[Taught]:
        """What a shard of the run teaches, in the order of its rows."""
        texts = texts_in(self._run, shard)
        if self._kind in OF_OUTCOMES:
            for path in self._run.read_rows(PATHS, shard):
                if path.valid and path.duplicate_of is None:
                    yield Taught(
                        path.path_id, path.problem_id, texts[path.problem_id], tuple(path.steps),
                        (len(path.steps) - 1,), (path.correct,), (float(path.correct),), (1.0,),
                    )  # fmt: skip
            return
        labelled: dict[str, PathLabels] = {}
        if _LABEL in self._run.spec.stages:
            labelled = {row.path_id: row for row in self._run.read_rows(LABELS, shard)}
        for example in self._run.read_rows(EXAMPLES, shard):
            targets, weights = self._targets(example, labelled.get(example.path_id))
            steps = tuple(steps_of(example, texts[example.problem_id]))
            taught = [at for at, weight in enumerate(weights) if weight > 0]
            if taught:
                yield Taught(
                    example.path_id, example.problem_id, texts[example.problem_id], steps,
                    tuple(taught), tuple(example.labels[at] for at in taught),
                    tuple(targets[at] for at in taught), tuple(weights[at] for at in taught),
                )  # fmt: skip

    def _targets(
        self, example: Example, labels: PathLabels | None
    ) -> tuple[list[float], list[float]]:
        """Targets and weights of an example's steps; weight 0 where nothing is known."""
        size = len(example.labels)
        alike = [1.0] * size
        if self._kind == "discriminative" and self._head.targets == "hard":
            return [float(right) for right in example.labels], alike
        if labels is None:
            return [0.0] * size, [0.0] * size
        if self._kind == "value":
            return [self._scaled(value) for value in labels.value[:size]], alike
        if self._head.targets == "soft":
            return list(labels.mc[1 : size + 1]), alike
        most = self._run.spec.configuration["stages"]["estimate"]["k_hard"]
        weights = [rollouts / most for rollouts in rollouts_behind(labels)]
        return list(labels.mc[1 : size + 1]), weights[:size]

    def _scaled(self, value: float) -> float:
        """A value on [0, 1]: a difference is half where nothing changes."""
        low, high = self._range
        return min(1.0, max(0.0, (value - low) / (high - low)))

    @cached_property
    def _range(self) -> tuple[float, float]:
        return value_range(LabelSettings(**self._run.spec.configuration["stages"][_LABEL]))


def rollouts_behind(labels: PathLabels) -> list[float]:
    """T numbers: rollouts from the state behind each step.

    The last state is graded, which is as sure as the path's most rollouts. A value that is implied
    (every state after a dead one) counts for nothing.
    """
    behind = [float(n) for n in labels.n[1:]]
    dead = 0.0 in labels.mc[:-1]
    if not dead:
        behind[-1] = float(max(labels.n))
    return behind


def value_range(label: LabelSettings) -> tuple[float, float]:
    """Least and greatest value of a form of labels; a ratio's is cut at 1."""
    if label.form == "difference":
        return -1.0, 1.0
    if label.form == "effective":
        return -abs(label.alpha), 1.0 + abs(label.alpha)
    return 0.0, 1.0
