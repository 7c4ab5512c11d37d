"""What rewards are worth: F1, best of N, calibration, and tokens for each verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt

from storage.rows.records import Response, Verification
from workflows.answers.grading import alike_now
from workflows.evaluation import measures
from workflows.settings import AnswerSettings
from workflows.votes.rewards import THRESHOLD, averaged

BINS = 10
"""Of equal width, for the expected calibration error."""


@dataclass(frozen=True)
class Worth:
    """The figures of one part; shares are in 0..1."""

    variant: str
    seed: int
    f1: float
    best_min: float
    """Right answers where the solution with the highest lowest reward is chosen."""
    best_last: float
    """The same by the last step's reward."""
    calibration_error: float
    brier: float
    tokens: float
    """Per verdict: generated ones, or for a model that writes nothing those that it read."""
    pass_at_1: float
    pass_at_n: float
    majority: float


def worth(
    variant: str,
    seed: int,
    bench: Sequence[Response],
    choice: Sequence[Response],
    rows: Sequence[Verification],
    n: int,
) -> Worth:
    """The figures; `bench`: responses with a first error, `choice`: `n` for each problem."""
    said = by_response(rows)
    most = max(map(len, said.values()))
    found = {
        (measure.measure, measure.k): measure.value
        for measure in (
            *measures.processbench_measures(variant, bench, padded(said, bench, most), most,
                                            THRESHOLD),
            *measures.bon_measures(variant, alike_now(choice, AnswerSettings()),
                                   padded(said, choice, 1), n, 1),
        )
        if measure.subset == ""
    }  # fmt: skip
    chances, right = step_chances(bench, said)
    return Worth(
        variant, seed, found["f1", most], found["argmax_min", n], found["argmax_last", n],
        calibration_error(chances, right), float(np.mean((chances - right) ** 2)),
        sum(row.tokens for row in rows) / sum(len(row.rewards) for row in rows),
        found["pass_at_1", n], found["pass_at_n", n], found["majority", n],
    )  # fmt: skip


def by_response(rows: Sequence[Verification]) -> dict[str, list[Sequence[float] | None]]:
    """Id of a response -> the rewards of its histories."""
    said: dict[str, list[Sequence[float] | None]] = {}
    for row in rows:
        said.setdefault(row.response_id, []).append(row.rewards)
    return said


def padded(
    said: Mapping[str, Sequence[Sequence[float] | None]], asked: Sequence[Response], n: int
) -> dict[str, list[Sequence[float] | None]]:
    """The first n histories of each response; None for one without rewards."""
    empty: list[Sequence[float] | None] = [None] * n
    return {row.response_id: [*said.get(row.response_id, ()), *empty][:n] for row in asked}


def step_chances(
    bench: Sequence[Response], said: Mapping[str, Sequence[Sequence[float] | None]]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(reward, whether the step is right) of every step up to the first error; behind it nobody
    says what a step is.
    """
    chances: list[float] = []
    right: list[float] = []
    for row in bench:
        histories = [rewards for rewards in said.get(row.response_id, ()) if rewards is not None]
        if not histories or row.label is None:
            continue
        means = averaged(histories)
        known = len(means) if row.label < 0 else row.label + 1
        chances += means[:known]
        right += [float(step != row.label) for step in range(known)]
    return np.array(chances), np.array(right)


def calibration_error(
    chances: npt.NDArray[np.float64], right: npt.NDArray[np.float64], bins: int = BINS
) -> float:
    """Expected calibration error: the mean distance of a bin's mean chance from its share of right
    steps, weighed by its steps (Naeini et al. 2015).
    """
    which = np.minimum((chances * bins).astype(int), bins - 1)
    distances = [
        abs(chances[which == number].sum() - right[which == number].sum()) for number in range(bins)
    ]
    return float(sum(distances) / len(chances))


def spread(values: Sequence[float]) -> tuple[float, float]:
    """(mean, standard deviation over seeds); 0 for one seed."""
    return fmean(values), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
