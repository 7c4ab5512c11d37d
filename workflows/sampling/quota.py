"""When a problem has enough samples, which of them are usable, and which go on.

Invariant: every rule depends only on the samples so far, in the order of their indices. So a
repeated shard draws and selects the same paths. An invalid path (`workflows.formats.steps.flaw`)
counts as neither right nor wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

from storage.rows.records import Path
from workflows.sampling.knapsack import SamplingBudget, Tally, plan
from workflows.sampling.rounds import Allocation
from workflows.settings import SampleSettings


class Unsampled(StrEnum):
    """All reasons why a problem does not go on from its samples."""

    NO_VALID_PATH = "no_valid_path"
    """No sample is a whole solution with an answer."""
    PASS_AT_1_LOW = "pass_at_1_low"
    """The policy solves it too seldom (`stages.sample.least_pass_at_1`)."""
    NO_CORRECT_PATH = "no_correct_path"
    """No sample has the right answer."""
    NO_INCORRECT_PATH = "no_incorrect_path"
    """No sample has a wrong answer."""


def usable(paths: Sequence[Path], correct: bool) -> list[Path]:
    """The valid paths that are right (`correct`) or wrong, each text once, by index."""
    return [
        path
        for path in sorted(paths, key=lambda path: path.index)
        if path.valid and path.duplicate_of is None and path.correct == correct
    ]


def pass_at_1(paths: Sequence[Path]) -> float:
    """Share of right answers in the first round, invalid paths and duplicates included.

    Later rounds would bias the estimate, as they stop once the rarer class is found. NaN without a
    first round.
    """
    first = [path.correct for path in paths if path.round == 0]
    return sum(first) / len(first) if first else math.nan


def tally(paths: Sequence[Path]) -> Tally:
    """Counts the usable right, usable wrong and other samples of a problem."""
    right, wrong = len(usable(paths, correct=True)), len(usable(paths, correct=False))
    return Tally(right, wrong, len(paths) - right - wrong)


def allocation(settings: SampleSettings) -> Allocation | None:
    """The distribution of samples over a shard's problems; None: each problem samples on its own.

    Every problem has the first round, which gives its Pass@1. The rest of `per_problem` samples
    times problems is distributed batch by batch by `workflows.sampling.knapsack`. In a shard that
    is tried item by item, each problem gets only its own share.
    """
    if settings.budget == "blind":
        return None
    budget = SamplingBudget(
        right=settings.correct, wrong=settings.incorrect, round=settings.round, cap=settings.cap,
        give_up=settings.give_up,
    )  # fmt: skip

    def next_samples(drawn: Sequence[Sequence[Path]]) -> Sequence[int]:
        if not any(drawn):
            return [min(settings.first_round, settings.cap)] * len(drawn)
        tallies = [tally(paths) for paths in drawn]
        left = settings.per_problem * len(drawn) - sum(each.samples for each in tallies)
        return plan(tallies, max(0, left), budget)

    return next_samples


class QuotaRule:
    """Samples a problem in rounds until both classes have their quota or the cap is reached.

    Rollouts that were reused fill quotas; of rounds, cap and Pass@1 they are no part.
    """

    def __init__(self, settings: SampleSettings) -> None:
        self._settings = settings

    def next_round(self, paths: Sequence[Path]) -> int:
        """Samples to draw next; 0 once both quotas are full or the cap is reached."""
        settings = self._settings
        drawn = sum(path.origin is None for path in paths)
        later = max(settings.round, int(settings.growth * drawn))
        if settings.select == "all" and drawn:
            return 0
        if drawn and pass_at_1(paths) < self._settings.least_pass_at_1:
            return 0
        full = (
            len(usable(paths, correct=True)) >= settings.correct
            and len(usable(paths, correct=False)) >= settings.incorrect
        )
        if full and (drawn or not settings.least_pass_at_1):
            return 0
        return max(0, min(later if drawn else settings.first_round, settings.cap - drawn))

    def select(self, paths: Sequence[Path]) -> frozenset[str]:
        """path_ids that go on: the first usable paths of each class, by index.

        With `top_up` a class also fills what the other one lacks. With `select: all` all usable
        paths go on. Otherwise empty if a class has no usable path.
        """
        right, wrong = usable(paths, correct=True), usable(paths, correct=False)
        if pass_at_1(paths) < self._settings.least_pass_at_1:
            return frozenset()
        if self._settings.select == "all":
            return frozenset(path.path_id for path in right + wrong)
        if not right or not wrong:
            return frozenset()
        rights, wrongs = self._settings.correct, self._settings.incorrect
        if self._settings.top_up:
            rights, wrongs = (
                rights + max(0, wrongs - len(wrong)),
                wrongs + max(0, rights - len(right)),
            )
        return frozenset(path.path_id for path in right[:rights] + wrong[:wrongs])

    def drop_reason(self, paths: Sequence[Path]) -> Unsampled | None:
        """Why a problem does not go on; None if it does."""
        right, wrong = usable(paths, correct=True), usable(paths, correct=False)
        if not right and not wrong:
            return Unsampled.NO_VALID_PATH
        if pass_at_1(paths) < self._settings.least_pass_at_1:
            return Unsampled.PASS_AT_1_LOW
        if self._settings.select == "all":
            return None
        if not right:
            return Unsampled.NO_CORRECT_PATH
        return None if wrong else Unsampled.NO_INCORRECT_PATH
