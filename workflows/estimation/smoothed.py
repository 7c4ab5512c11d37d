"""Labels of a path from posteriors, which read all its states together.

MC values are the posterior's means, and 0 from the state on that is likelier dead than alive. The
value of a step is the posterior's median, which equation 10 compares like a measured value.

Invariant: depends only on the path's own answer, its rows, the chain and the settings. A state
without rollouts is inferred from its neighbours only if its stop rule explains their absence.
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
    """A path of T steps, labelled by its posterior."""

    n: list[int]
    """T + 1: rollouts per state; 0 at the end and in states without rollouts."""
    mc: list[float]
    """T + 1: mean success probability per state."""
    value: list[float]
    """T: median value per step."""
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
    """The labels of a path. Raises ItemError `rollouts_missing` if a state lacks rollouts."""
    if (missing := unexplained(path, rollouts, chain)) is not None:
        raise ItemError(Unlabelled.ROLLOUTS_MISSING, f"state {missing} of {len(path.steps)}")
    counts = counted(rollouts)
    beliefs = _beliefs(path, counts, chain)
    dead = beliefs.dead[0] > 0.5
    mean = [0.0 if gone else float(q) for q, gone in zip(beliefs.mean[0], dead, strict=True)]
    value = beliefs.median_value(0, settings)
    right = beliefs.right(settings)[0]
    end = 1.0 if path.correct and not dead[-1] else 0.0
    return Smoothed(
        n=[counts[state].n if state in counts else 0 for state in range(len(path.steps))] + [0],
        mc=[*mean, end],
        value=value,
        labels=[
            # The two differ only at death: `right` knows of it in every form of label.
            bool(chance >= 0.5) and is_right(compared, settings)
            for chance, compared in zip(right, value, strict=True)
        ],
    )


def unexplained(path: Path, rollouts: Sequence[StateRollouts], chain: Chain) -> int | None:
    """The first state whose lack of rollouts is unexplained, or None.

    Explanations: the state before it has MC = 0 (`exact_zero_stop`), or is certainly dead.
    """
    counts = counted(rollouts)
    states = len(path.steps)
    missing = next((state for state in range(states) if state not in counts), None)
    if missing is None:
        return None
    rules = {row.stop_rule for row in rollouts}
    if missing == 0 or max(counts) > missing:
        return missing
    if rules <= _STOPS_AT_ZERO:
        return None if counts[missing - 1].c == 0 else missing
    if rules <= _STOPS_AT_DEATH:
        dead = _beliefs(path, counts, chain).dead[0, missing - 1]
        return None if dead >= CERTAINLY_DEAD else missing
    return missing


def _beliefs(path: Path, counts: Mapping[int, StateCount], chain: Chain) -> Beliefs:
    return believe_by_rule(chain, Observed.of([(len(path.steps), path.correct, counts)]))
