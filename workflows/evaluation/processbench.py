"""ProcessBench's measure: does a verifier find the first wrong step, and pass right solutions?

Per subset, F1 is the harmonic mean of two accuracies. One is the share of erroneous solutions
(label >= 0) whose first wrong step is predicted exactly. The other is the share of right solutions
(label -1) predicted right. The average is the unweighted mean over subsets (Zheng et al., arXiv
2412.06559; GenPRM's Avg column). Labels and predictions are 0-based; no prediction (None) is wrong.

Pass@1 is the mean over histories of the F1 of one history. Maj@k first averages the rewards of k
histories per step (GenPRM, equations 5 and 6). It is itself averaged over disjoint groups of k.

Invariant: all functions are pure. A subset without solutions of both classes is refused.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from storage.errors import InputError
from storage.rows.records import Response
from workflows.votes.rewards import THRESHOLD, averaged, first_error_index

GRID = tuple(step / 20 for step in range(1, 20))
"""Thresholds that SCAN tries: 0.05, 0.10, ... 0.95."""

Histories = Sequence[Sequence[float] | None]
"""Rewards per step of each history of one response; None where that history has none."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The label of one solution, and the step that a verifier predicts."""

    subset: str
    label: int
    predicted: int | None

    @property
    def hit(self) -> bool:
        """Whether the prediction is exactly the label."""
        return self.predicted == self.label


@dataclass(frozen=True, slots=True)
class SubsetScore:
    """Accuracies on one subset and their harmonic mean, all in 0..1."""

    subset: str
    erroneous: int
    correct: int
    """Solutions of each class."""
    error_accuracy: float
    correct_accuracy: float
    f1: float


@dataclass(frozen=True, slots=True)
class Score:
    """The scores of the subsets, in order of appearance, and the mean of their F1."""

    subsets: tuple[SubsetScore, ...]
    f1: float


def harmonic_mean(left: float, right: float) -> float:
    """2ab / (a + b); 0 where both are 0."""
    return 2 * left * right / (left + right) if left + right else 0.0


def score(judgements: Iterable[Judgement]) -> Score:
    """F1 per subset and on average. Raises InputError for a subset that lacks a class."""
    groups: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        groups.setdefault(judgement.subset, []).append(judgement)
    if not groups:
        raise InputError("no labelled solution to score: ProcessBench's files have a `label`")
    subsets = tuple(_subset_score(name, group) for name, group in groups.items())
    return Score(subsets, fmean(subset.f1 for subset in subsets))


def _subset_score(name: str, group: Sequence[Judgement]) -> SubsetScore:
    wrong = [judgement.hit for judgement in group if judgement.label >= 0]
    right = [judgement.hit for judgement in group if judgement.label < 0]
    if not wrong or not right:
        lacking = "erroneous" if not wrong else "correct"
        raise InputError(
            f"subset {name or '(none)'!r} holds no {lacking} solution: F1 needs both kinds; add "
            "some or leave the subset out"
        )
    errors, corrects = fmean(wrong), fmean(right)
    return SubsetScore(
        name, len(wrong), len(right), errors, corrects, harmonic_mean(errors, corrects)
    )


def predict(histories: Histories, threshold: float = THRESHOLD) -> int | None:
    """First step whose mean reward is below the threshold; -1: none; None: no history."""
    present = [rewards for rewards in histories if rewards is not None]
    return first_error_index(averaged(present), threshold) if present else None


def majority_index(predicted: Sequence[int | None]) -> int | None:
    """The commonest index of several critics, the first of equals; None: no critic gave one.

    ProcessBench's own vote for language-model critics.
    """
    given = [index for index in predicted if index is not None]
    return Counter(given).most_common(1)[0][0] if given else None


def judgements(
    responses: Sequence[Response],
    histories: Mapping[str, Histories],
    picked: Sequence[int],
    threshold: float = THRESHOLD,
) -> list[Judgement]:
    """The prediction for every labelled response, by the mean over the `picked` histories."""
    judged = []
    for response in responses:
        if response.label is None:
            continue
        seen = histories.get(response.response_id, ())
        chosen = [seen[index] for index in picked if index < len(seen)]
        judged.append(Judgement(response.subset, response.label, predict(chosen, threshold)))
    return judged


def maj_at(
    responses: Sequence[Response],
    histories: Mapping[str, Histories],
    k: int,
    n: int,
    threshold: float = THRESHOLD,
) -> Score:
    """Maj@k of n histories: the mean score over the n // k disjoint groups of k; k = 1: Pass@1."""
    groups = [range(start, start + k) for start in range(0, n - k + 1, k)]
    if not groups:
        raise ValueError(f"Maj@{k} of {n} histories")
    return mean_score(
        [score(judgements(responses, histories, group, threshold)) for group in groups]
    )


def mean_score(scores: Sequence[Score]) -> Score:
    """Average accuracies and F1 over several scores of the same solutions."""
    subsets = tuple(
        SubsetScore(
            parts[0].subset,
            parts[0].erroneous,
            parts[0].correct,
            fmean(part.error_accuracy for part in parts),
            fmean(part.correct_accuracy for part in parts),
            fmean(part.f1 for part in parts),
        )
        for parts in zip(*(each.subsets for each in scores), strict=True)
    )
    return Score(subsets, fmean(each.f1 for each in scores))


def f1_spread(
    responses: Sequence[Response],
    histories: Mapping[str, Histories],
    k: int,
    n: int,
    threshold: float = THRESHOLD,
    draws: int = 200,
) -> float:
    """Standard deviation of the average F1 of Maj@k over benchmarks of the same kind: a bootstrap.

    Solutions are drawn with replacement within their subset and class. Each counts with the share
    of its groups of k histories that hit. The seed is fixed: the same rows give the same figure.
    """
    groups = [range(start, start + k) for start in range(0, n - k + 1, k)]
    parts = [judgements(responses, histories, group, threshold) for group in groups]
    rates: dict[tuple[str, bool], list[float]] = {}
    for each in zip(*parts, strict=True):
        key = each[0].subset, each[0].label >= 0
        rates.setdefault(key, []).append(fmean(judged.hit for judged in each))
    rng = random.Random(0)
    averages = []
    for _ in range(draws):
        drawn = {key: fmean(rng.choices(each, k=len(each))) for key, each in rates.items()}
        subsets = dict.fromkeys(subset for subset, _ in drawn)
        averages.append(fmean(harmonic_mean(drawn[s, True], drawn[s, False]) for s in subsets))
    return stdev(averages)


def chosen_threshold(
    responses: Sequence[Response],
    histories: Mapping[str, Histories],
    subset: str,
    n: int,
    grid: Sequence[float] = GRID,
) -> float:
    """The threshold with the best F1 on one subset, to use on the others; ties: nearest 0.5.

    ProcessBench chooses it so, on GSM8K, for its discriminative models. The grid is SCAN's. Raises
    InputError where there is no such subset.
    """
    part = [response for response in responses if response.subset == subset]
    if not part:
        names = ", ".join(dict.fromkeys(response.subset for response in responses))
        raise InputError(f"no subset {subset!r} to choose a threshold on; there are {names}")

    def worth(threshold: float) -> tuple[float, float]:
        f1 = score(judgements(part, histories, range(n), threshold)).f1
        return f1, -abs(threshold - THRESHOLD)

    return max(grid, key=worth)


def right_answer_wrong_process(
    responses: Sequence[Response],
    histories: Mapping[str, Histories],
    n: int,
    threshold: float = THRESHOLD,
) -> tuple[int, float | None]:
    """(solutions, accuracy) on right answers reached by a wrong step; None where there are none.

    Accuracy is the share for which any error is predicted (Lessons of Developing PRMs, arXiv
    2501.07301, Table 5).
    """
    odd = [
        response
        for response in responses
        if response.correct and response.label is not None and response.label >= 0
    ]
    seen = [
        judged.predicted is not None and judged.predicted >= 0
        for judged in judgements(odd, histories, range(n), threshold)
    ]
    return len(odd), fmean(seen) if seen else None
