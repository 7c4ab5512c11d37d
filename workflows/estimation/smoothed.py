"""Labels of a path from posteriors: the states read together instead of one by one.

MC values are the means of the beliefs, 0 from where a path is more likely dead than not; the value
of a step is the posterior's median, so that equation 10 compares it as it does a measured one.

Invariant: pure in the path's own answer, its rows, the chain and the settings. A state without
rollouts is spoken for by its neighbours only where the rows say why it has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from storage.errors import ItemError
from storage.rows.records import Path, StateRollouts
from workflows.estimation.posterior import (
    CERTAINLY_DEAD,
    Beliefs,
    Chain,
    Observed,
    StateCount,
    believe_by_rule,
)
from workflows.labels.rule import Unlabelled, is_right
from workflows.settings import LabelSettings

_STOPS_AT_ZERO = frozenset({"exact_zero_stop"})
_STOPS_AT_DEATH = frozenset({"two_round", "adaptive"})


class Smoothed(NamedTuple):
    """What a posterior says of a path of T steps."""

    n: list[int]
    """T + 1: rollouts per state; 0 where none were made, and at the end."""
    mc: list[float]
    """T + 1: means of the beliefs."""
    value: list[float]
    """T: medians."""
    labels: list[bool]


def counted(rollouts: Sequence[StateRollouts]) -> Mapping[int, StateCount]:
    """State -> (n, c), the rounds of a state summed."""
    sums: dict[int, StateCount] = {}
    for row in rollouts:
        so_far = sums.get(row.state)
        n, c = (row.n, row.c) if so_far is None else (so_far.n + row.n, so_far.c + row.c)
        sums[row.state] = StateCount(n, c)
    return dict(sorted(sums.items()))


def smooth(
    path: Path, rollouts: Sequence[StateRollouts], settings: LabelSettings, chain: Chain
) -> Smoothed:
    """The labels of a path. Raises ItemError `rollouts_missing`."""
    if (missing := unexplained(path, rollouts, chain)) is not None:
        raise ItemError(Unlabelled.ROLLOUTS_MISSING, f"state {missing} of {len(path.steps)}")
    made = counted(rollouts)
    beliefs = _beliefs(path, made, chain)
    dead = beliefs.dead[0] > 0.5
    mean = [0.0 if gone else float(q) for q, gone in zip(beliefs.mean[0], dead, strict=True)]
    value = beliefs.median_value(0, settings)
    right = beliefs.right(settings)[0]
    end = 1.0 if path.correct and not dead[-1] else 0.0
    return Smoothed(
        n=[made[state].n if state in made else 0 for state in range(len(path.steps))] + [0],
        mc=[*mean, end],
        value=value,
        labels=[
            # The two agree but for death, which only `right` knows of where the form does not.
            bool(chance >= 0.5) and is_right(compared, settings)
            for chance, compared in zip(right, value, strict=True)
        ],
    )


def unexplained(path: Path, rollouts: Sequence[StateRollouts], chain: Chain) -> int | None:
    """The first state that lacks rollouts without a reason; None where all is as it should be.

    Reasons: the state before it had MC = 0 (`exact_zero_stop`), or is certainly dead.
    """
    made = counted(rollouts)
    states = len(path.steps)
    missing = next((state for state in range(states) if state not in made), None)
    if missing is None:
        return None
    rules = {row.stop_rule for row in rollouts}
    if missing == 0 or max(made) > missing:
        return missing
    if rules <= _STOPS_AT_ZERO:
        return None if made[missing - 1].c == 0 else missing
    if rules <= _STOPS_AT_DEATH:
        dead = _beliefs(path, made, chain).dead[0, missing - 1]
        return None if dead >= CERTAINLY_DEAD else missing
    return missing


def _beliefs(path: Path, made: Mapping[int, StateCount], chain: Chain) -> Beliefs:
    return believe_by_rule(chain, Observed.of([(len(path.steps), path.correct, made)]))
