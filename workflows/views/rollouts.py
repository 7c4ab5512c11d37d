"""View `rollouts`: the rollouts whose texts a run kept, as solutions for another run.

Invariant: which are in it, and in what order, follows from indices and from the form of a text, and
never from whether its answer is right. Those from early states come first, since they have least
in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from storage.datasets.view import View
from storage.errors import ConfigurationError
from storage.rows.kinds import PATHS, PROBLEMS, ROLLOUTS
from storage.rows.records import Origin, Path, Problem, StateRollouts
from storage.runs.run import Run
from workflows.formats import steps

NAME = "rollouts"


@dataclass(frozen=True, slots=True)
class RolledOut:
    """A rollout that is a whole solution, as `solutions` of a build reads it."""

    problem_id: str
    problem: str
    steps: list[str]
    """The steps of the state that it starts from, and its own."""
    answer: str | None
    correct: bool
    generator: str
    """The model that wrote it."""
    origin: Origin


def rolled_out(
    run: str,
    seed: int,
    problems: Sequence[Problem],
    paths: Sequence[Path],
    rollouts: Sequence[StateRollouts],
) -> list[RolledOut]:
    """The kept rollouts of a shard that have the form of a path, by problem, state and index."""
    texts = {row.problem_id: row.problem for row in problems}
    before = {row.path_id: [] if row.origin is None else row.origin.seeds for row in paths}
    place = {name: number for number, name in enumerate(texts)}
    found = [
        (place[row.problem_id], row.state, kept.index, RolledOut(
            row.problem_id, texts[row.problem_id], list(steps.split(kept.text)), kept.answer,
            kept.correct, row.model,
            Origin(run, row.path_id, row.state, kept.index, row.model,
                   sorted({seed, *before[row.path_id]})),
        ))
        for row in rollouts
        for kept in row.kept or ()
        if steps.flaw(kept.finish_reason, kept.text, kept.answer) is None
    ]  # fmt: skip
    return [row for *_, row in sorted(found, key=lambda each: each[:3])]


def rollouts_of(run: Run) -> View:
    """The view of a run. Raises ConfigurationError for a run that kept no texts."""
    stages = run.spec.section("stages")
    if not stages.get(ROLLOUTS.stage, {}).get("keep_texts"):
        raise ConfigurationError(
            f"run {run.name!r} kept no rollouts: a run does with `stages.estimate.keep_texts`, the "
            "number of each state"
        )
    return View(
        NAME,
        "Rollouts that are whole solutions, right or wrong, for another run's `solutions` with "
        "`stages.sample.reuse_rollouts` and another seed.",
        RolledOut,
        partial(rolled_out, run.name, stages["seed"]),
        (PROBLEMS.stage, PATHS.stage, ROLLOUTS.stage),
    )
