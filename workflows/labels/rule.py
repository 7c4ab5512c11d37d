"""The label rule: a step's value, and the threshold that it is compared with.

Invariant: depends only on two values and the settings. Measured MC values
(`workflows.stages.label`) and posteriors (`workflows.estimation.posterior`) use the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from workflows.settings import LabelSettings


class Unlabelled(StrEnum):
    """All reasons why the steps of a path have no labels."""

    MC_ZERO_START = "mc_zero_start"
    """No rollout from the bare problem is right: relative progress has no denominator."""
    ALL_CUT = "all_cut"
    """All rollouts of a state were cut, which says nothing of it (`stages.estimate.cut`)."""
    NO_ZERO = "no_zero"
    """It has a wrong answer and no state without a right rollout (`stages.label.unseen_zero`)."""
    ROLLOUTS_MISSING = "rollouts_missing"
    """A state lacks rollouts that the labels need."""


def step_value(before: float, after: float, form: str, start: float = 1.0) -> float:
    """The value of a step from MC `before` to MC `after`, which the threshold is compared with.

    `ratio`: relative progress P_t = MC(s_t, a_t) / MC(s_t) (equation 9). 0 / 0 is 0; a step from
    MC 0 to a higher one (only with `after_first_zero: keep`) has the value 1. `difference`:
    MC(s_t, a_t) - MC(s_t), the paper's other form. `hard` and `soft`: MC(s_t, a_t).
    `start_ratio` (SCAN): min(1, MC(s_t, a_t) / MC(s_1)), with MC(s_1) = `start`.
    """
    if form == "start_ratio":
        return min(1.0, after / start) if start > 0 else 0.0
    if form == "ratio":
        if before > 0:
            return after / before
        return 1.0 if after > 0 else 0.0
    return after - before if form == "difference" else after


def is_right(value: float, settings: LabelSettings) -> bool:
    """Equation 10: a step is right if value >= threshold; for `hard`, if value > threshold."""
    return value > settings.threshold if settings.form == "hard" else value >= settings.threshold


def first_error(labels: Sequence[bool]) -> int | None:
    """0-based index of the first wrong step; None if all are right."""
    return next((t for t, right in enumerate(labels) if not right), None)


@dataclass(frozen=True, slots=True, eq=False)
class RuleTable:
    """The rule tabulated for every step between two of G success probabilities."""

    value: npt.NDArray[np.float64]
    """(G, G): value of a step from point i to point j."""
    right: npt.NDArray[np.bool_]
    """(G, G): whether such a step is right."""
    end_value: npt.NDArray[np.float64]
    """(2, G): value of a last step from point i, by the path's answer (wrong, right)."""
    end_right: npt.NDArray[np.bool_]
    """(2, G): whether such a last step is right."""
    falling: npt.NDArray[np.int64]
    """(G * G,): positions of `value`, largest first."""
    end_falling: npt.NDArray[np.int64]
    """(2, G): positions in each row of `end_value`, largest first."""


def rule_table(grid: Sequence[float], settings: LabelSettings) -> RuleTable:
    """`step_value` and `is_right` for every pair of grid points, and for the last step.

    The path's own answer is the value after its last step. Unless `after_first_zero` is `keep`, a
    step to 0 is wrong in every form, and a right answer after 0 counts as 0. A chain never leaves
    0, so all later steps are wrong too.
    """
    zero = settings.after_first_zero != "keep"

    def right(value: float, after: float) -> bool:
        return is_right(value, settings) and not (zero and after == 0)

    ends = np.array([[b if a or not zero else 0.0 for a in grid] for b in (0.0, 1.0)])
    value = np.array([[step_value(a, b, settings.form) for b in grid] for a in grid])
    end = np.array(
        [[step_value(a, b, settings.form) for a, b in zip(grid, row, strict=True)] for row in ends]
    )
    return RuleTable(
        value,
        np.array([[right(v, b) for v, b in zip(row, grid, strict=True)] for row in value]),
        end,
        np.array(
            [
                [right(v, b) for v, b in zip(*rows, strict=True)]
                for rows in zip(end, ends, strict=True)
            ]
        ),
        np.argsort(-value, axis=None, kind="stable"),
        np.argsort(-end, axis=1, kind="stable"),
    )
