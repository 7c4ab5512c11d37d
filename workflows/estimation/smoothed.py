"""Labels of paths from posteriors, which read all states of a problem's paths together: its tree.

MC values are the posterior's means, and 0 from the state on that is likelier dead than alive. The
value of a step is the posterior's median, which equation 10 compares like a measured value.

Invariant: depends only on the paths' own answers, their rows, the chain and the settings. A state
without rollouts is inferred from its neighbours only if its stop rule explains their absence.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

from storage.errors import ItemError
from storage.rows.records import Path, StateRollouts
from workflows.estimation.posterior import (
    CERTAINLY_DEAD,
    Beliefs,
    Chain,
    Floats,
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
        n, c = row.counted, row.c
        if so_far is not None:
            n, c = so_far.n + n, so_far.c + c
        sums[row.state] = StateCount(n, c)
    return dict(sorted(sums.items()))


def smooth(
    paths: Sequence[Path],
    rollouts: Mapping[str, Sequence[StateRollouts]],
    states: Callable[[Path], Sequence[Hashable]],
    settings: LabelSettings,
    chain: Chain,
) -> dict[str, Smoothed]:
    """path_id -> labels, of paths of one problem; `rollouts` are the rows of each path.

    `states` names the states of a path; two paths have in common those of equal names.

    Raises ItemError `rollouts_missing` if a state lacks rollouts.
    """
    for path in paths:
        if (missing := unexplained(path, rollouts[path.path_id], chain)) is not None:
            raise ItemError(Unlabelled.ROLLOUTS_MISSING, f"state {missing} of {len(path.steps)}")
    counts = [counted(rollouts[path.path_id]) for path in paths]
    seen = Observed.of(
        [(len(p.steps), p.correct, of) for p, of in zip(paths, counts, strict=True)],
        [states(path) for path in paths],
    )
    beliefs = believe_by_rule(chain, seen)
    mean, right = beliefs.mean, beliefs.right(settings)  # of all paths at once
    return {
        path.path_id: _smoothed(row, path, of, beliefs, mean[row], right[row], settings)
        for row, (path, of) in enumerate(zip(paths, counts, strict=True))
    }


def _smoothed(
    row: int,
    path: Path,
    counts: Mapping[int, StateCount],
    beliefs: Beliefs,
    means: Floats,
    right: Floats,
    settings: LabelSettings,
) -> Smoothed:
    """The labels of path `row`; `means`, `right`: (S,), its own rows of what `beliefs` say."""
    steps = len(path.steps)
    dead = beliefs.dead[row, :steps] > 0.5
    mean = [0.0 if gone else float(q) for q, gone in zip(means[:steps], dead, strict=True)]
    value = beliefs.median_value(row, settings)
    end = 1.0 if path.correct and not dead[-1] else 0.0
    return Smoothed(
        n=[counts[state].n if state in counts else 0 for state in range(steps)] + [0],
        mc=[*mean, end],
        value=value,
        labels=[
            # The two differ only at death: `right` knows of it in every form of label.
            bool(chance >= 0.5) and is_right(compared, settings)
            for chance, compared in zip(right[:steps], value, strict=True)
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
        # The budget stopped by what it read of this path alone.
        alone = believe_by_rule(chain, Observed.of([(states, path.correct, counts)]))
        return None if alone.dead[0, missing - 1] >= CERTAINLY_DEAD else missing
    return missing
