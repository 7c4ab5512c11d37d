"""How much of a run's labels is noise of its rollouts, by computing and by resampling.

    halves      a state's rollouts, split at random in two: how often labels of both differ
    unchanged   chance that a step is called wrong although MC does not change:
                P(value < threshold) for c_1 ~ B(n_1, p), c_2 ~ B(n_2, p), c_1 > 0, p = c / n
    cut         labels if all rollouts that were cut are wrong, and if all are right
    mended      labels that as many rollouts again would bring to those of the posterior's MC

The two halves have half the rollouts each, so that their labels differ more often than those of
two whole runs. For `mended` MC is drawn from Beta(c + 1/2, n - c + 1/2); a state without a right
rollout counts as 0.

Invariant: all functions are pure; what is drawn follows from the generator that is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import lgamma, log, log1p

import numpy as np
import numpy.typing as npt

from workflows.labels.rule import is_right, step_value
from workflows.labels.values import step_values
from workflows.settings import LabelSettings

RELATIVE = ("ratio", "difference")
"""Forms that compare a state with the one before: only there a step can change nothing."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Rollouts of a path's states 0..T-1, and its answer."""

    n: npt.NDArray[np.int64]
    c: npt.NDArray[np.int64]
    correct: bool

    @classmethod
    def of(cls, n: Sequence[int], mc: Sequence[float]) -> Counts:
        """From a row of stage `label`: T + 1 numbers of rollouts and MC values."""
        rolled = np.array(n[:-1], np.int64)
        return cls(rolled, np.rint(rolled * np.array(mc[:-1])).astype(np.int64), mc[-1] > 0)

    def labels(self, mc: npt.NDArray[np.float64], settings: LabelSettings) -> list[bool]:
        """The labels of the T steps for other MC values of the same states."""
        return step_values([*mc.tolist(), float(self.correct)], settings).labels

    def drawn(
        self, n: npt.NDArray[np.int64], p: npt.NDArray[np.float64], of: np.random.Generator
    ) -> npt.NDArray[np.float64]:
        """MC values that n rollouts measure of states whose MC is p."""
        measured: npt.NDArray[np.float64] = of.binomial(n, p) / np.maximum(n, 1)
        return measured


def halves_differ(
    counts: Counts, settings: LabelSettings, of: np.random.Generator
) -> tuple[int, int] | None:
    """(steps whose labels differ between two halves of the rollouts, steps).

    None where a half has no right rollout of the bare problem: it would drop the path.
    """
    half = counts.n // 2
    first = of.hypergeometric(counts.c, counts.n - counts.c, half)
    values = [
        first / np.maximum(half, 1),
        (counts.c - first) / np.maximum(counts.n - half, 1),
    ]
    if any(mc[0] == 0 for mc in values):
        return None
    one, other = (counts.labels(mc, settings) for mc in values)
    return sum(a != b for a, b in zip(one, other, strict=True)), len(one)


def unchanged_called_wrong(c: int, n: int, n_after: int, settings: LabelSettings) -> float:
    """The chance that a step that changes nothing is called wrong, with MC = c / n on both sides.

    Raises ValueError for a form of label in which no step can change nothing, or c = 0.
    """
    if settings.form not in RELATIVE or settings.prover != "none" or not c:
        raise ValueError(f"{settings.form}, {c} of {n}: nothing to compare")
    before, after = _chances(n, c / n), _chances(n_after, c / n)
    before[0] = 0.0  # a path without a right rollout has no next step to label
    wrong = _wrong(n, n_after, settings)
    return float(before @ wrong @ after / before.sum())


def mended(counts: Counts, settings: LabelSettings, of: np.random.Generator) -> tuple[int, int]:
    """(labels wrong with as many rollouts, labels wrong with twice as many), of one draw of MC."""
    p = np.where(counts.c > 0, of.beta(counts.c + 0.5, counts.n - counts.c + 0.5), 0.0)
    truth = counts.labels(p, settings)

    def wrong(n: npt.NDArray[np.int64]) -> int:
        measured = counts.drawn(n, p, of)
        return sum(a != b for a, b in zip(counts.labels(measured, settings), truth, strict=True))

    return wrong(counts.n), wrong(2 * counts.n)


def cut_labels(
    states: Sequence[tuple[int, int, int]], answer: bool | None, settings: LabelSettings
) -> tuple[list[bool], list[bool]]:
    """Labels of a path's first steps if all cut rollouts are wrong, and if all are right.

    `states`: (rollouts, right if all cut are wrong, right if all are right) of states 0, 1, ... as
    far as they were rolled out. `answer`: whether the answer behind them is right; None: other
    steps come first, or it is not known.
    """
    end = [] if answer is None else [float(answer)]
    least = [low / n for n, low, _ in states]
    most = [high / n for n, _, high in states]
    return step_values(least + end, settings).labels, step_values(most + end, settings).labels


def _chances(n: int, p: float) -> npt.NDArray[np.float64]:
    """(n + 1,): the binomial chances of 0..n right rollouts, for 0 < p <= 1."""
    if p == 1:
        certain: npt.NDArray[np.float64] = np.eye(n + 1)[n]
        return certain
    k = np.arange(n + 1)
    factorials = np.array([lgamma(i + 1) for i in range(n + 1)])
    ways = factorials[n] - factorials - factorials[::-1]
    chances: npt.NDArray[np.float64] = np.exp(ways + k * log(p) + (n - k) * log1p(-p))
    return chances


@lru_cache(maxsize=64)
def _wrong(n: int, n_after: int, settings: LabelSettings) -> npt.NDArray[np.bool_]:
    """(n + 1, n_after + 1): whether a step between two counts is called wrong."""
    zero = settings.after_first_zero != "keep"
    table: npt.NDArray[np.bool_] = np.array(
        [
            [
                (zero and b == 0)
                or not is_right(step_value(a / n, b / n_after, settings.form), settings)
                for b in range(n_after + 1)
            ]
            for a in range(n + 1)
        ]
    )
    return table
