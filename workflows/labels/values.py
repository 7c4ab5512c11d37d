"""Values and labels of a path's steps from the MC values of its states, in every form.

    A_mu(t)      = Q_mu(s_t, a_t) - Q_mu(s_t)          the prover's advantage (Rewarding Progress);
    Q_mu         = Q_pi | 1 - (1 - Q_pi)^K | measured   same, best of K, another model;
    effective(t) = Q_pi(s_t, a_t) + alpha A_mu(t).

Step t leads from state t to state t + 1, so Q(s_t, a_t) is the MC of state t + 1. The advantages
of a path sum to Q(s_T) - Q(s_0).

Invariant: pure functions. Only `workflows.labels.rule` compares a value with the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from storage.errors import ItemError
from workflows.labels.rule import Unlabelled, is_right, step_value
from workflows.settings import LabelSettings


@dataclass(frozen=True, slots=True)
class StepValues:
    """Values and labels of T steps, from the values of states 0..T."""

    mc: list[float]
    """T + 1: MC of each state."""
    value: list[float]
    labels: list[bool]
    q_mu: list[float]
    """T + 1: the prover's values; empty without a prover."""

    @property
    def advantages(self) -> list[float]:
        """T: the prover's advantages; empty without a prover."""
        return [after - before for before, after in pairwise(self.q_mu)]


def best_of(q: float, k: int) -> float:
    """Chance that at least one of k independent tries succeeds: 1 - (1 - Q)^k."""
    return 1 - (1 - q) ** k


def prover_values(
    mc: Sequence[float], settings: LabelSettings, measured: Sequence[float] | None
) -> list[float]:
    """Q_mu of states 0..T: the completion model's, its best of k, or another model's.

    Raises ValueError if `prover: model` has no measured values.
    """
    if settings.prover == "best_of":
        return [best_of(q, settings.prover_k) for q in mc]
    if settings.prover == "model":
        if measured is None:
            raise ValueError("stage `prover` measured nothing")
        return list(measured)
    return list(mc)


def step_values(
    measured: Sequence[float],
    settings: LabelSettings,
    prover: Sequence[float] | None = None,
) -> StepValues:
    """Values and labels of T steps from the T + 1 measured MC values of a path (equations 9, 10).

    `prover`: T + 1 values of the same states, measured with another model. `after_first_zero: drop`
    counts as `zero` here: `labelled_steps` gives the number of steps that keep their labels.
    """
    zero = settings.after_first_zero != "keep"
    mc = zero_after_first_zero(measured) if zero else list(measured)
    has_prover = settings.prover != "none"
    q_mu = prover_values(mc, settings, prover) if has_prover else mc
    value = []
    for t, (before, after) in enumerate(pairwise(mc)):
        if settings.form == "effective":
            value.append(after + settings.alpha * (q_mu[t + 1] - q_mu[t]))
        elif settings.form == "difference":
            value.append(step_value(q_mu[t], q_mu[t + 1], settings.form))
        else:
            value.append(step_value(before, after, settings.form, mc[0]))
    labels = [
        is_right(value[t], settings) and not (zero and mc[t + 1] == 0) for t in range(len(value))
    ]
    if settings.tolerance is not None and 0 in mc:
        for t in range(max(0, first_zero_step(mc) - settings.tolerance)):
            value[t], labels[t] = 1.0, True
    return StepValues(mc, value, labels, q_mu if has_prover else [])


def zero_after_first_zero(mc: Sequence[float]) -> list[float]:
    """The MC values with every value after the first 0 set to 0, the path's answer included."""
    if 0 not in mc:
        return list(mc)
    first = list(mc).index(0)
    return [*mc[:first], *[0.0] * (len(mc) - first)]


def first_zero_step(mc: Sequence[float]) -> int:
    """Index of the step that leads to the first state with MC = 0; T if there is none."""
    return list(mc).index(0) - 1 if 0 in mc else len(mc) - 1


def labelled_steps(mc: Sequence[float], settings: LabelSettings) -> int:
    """How many of the T steps have labels. With `drop`, steps after the first MC = 0 have none."""
    steps = len(mc) - 1
    return min(steps, first_zero_step(mc) + 1) if settings.after_first_zero == "drop" else steps


def label(
    counts: Sequence[tuple[int, int]], correct: bool, settings: LabelSettings | None = None
) -> StepValues:
    """Relative progress and labels of a solution's T steps, from counts of its states 0..T-1.

    `counts`: (right rollouts, rollouts) of each state; state 0 is the bare problem. `correct`:
    whether the solution's own answer is right, which is the value of its last state.

    >>> solution = label([(6, 8), (6, 8), (3, 8)], correct=False)
    >>> solution.value, solution.labels
    ([1.0, 0.5, 0.0], [True, False, False])

    Raises ItemError `mc_zero_start` if no rollout of the bare problem is right. Raises ItemError
    `rollouts_missing` for a state without rollouts before the first MC of 0.
    """
    settings = settings or LabelSettings()
    mc: list[float] = []
    for state, (right, rollouts) in enumerate(counts):
        if rollouts == 0 and 0 not in mc:
            raise ItemError(Unlabelled.ROLLOUTS_MISSING, f"state {state}")
        mc.append(right / rollouts if rollouts else 0.0)
    if not mc or mc[0] == 0:
        raise ItemError(Unlabelled.MC_ZERO_START, "no rollout of the problem is right")
    return step_values([*mc, float(correct)], settings)
