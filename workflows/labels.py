"""Labels of steps from Monte-Carlo values: a pure function of a path, its rollouts and settings.

Equations of the paper: 7 is MC(s), 8 the choice of K (`workflows.estimators`), 9 the relative
progress P_t, 10 the label.
Step t leads from state t to state t + 1, so MC(s_t, a_t) is the MC of state t + 1. Where the
paper is silent: the last state is graded by the path's own answer (1 or 0), so a right path's
last step always passes; "the first erroneous step is t' with MC(s_t') = 0" is read as the step
whose successor has MC = 0; 0 / 0 is wrong.

Invariant: the same rows and settings give the same labels, and a form of label that the way the
rollouts were stopped does not support is refused, never approximated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from actors.stage import ShardResult, ShardRows, process_items
from storage.errors import ConfigurationError, ItemError
from storage.records import Path, PathLabels, StateRollouts
from workflows.estimators import monte_carlo
from workflows.sampling import pass_at_1
from workflows.settings import LabelSettings

ALL_FORMS = frozenset({"ratio", "difference", "hard", "soft"})
PERMITTED_FORMS: Mapping[str, frozenset[str]] = {
    "exact": ALL_FORMS,
    "exact_zero_stop": ALL_FORMS,
}
"""stop_rule -> forms of label that its counts support. A rule that stops at the first success
knows only whether MC > 0, so it would permit `hard` with threshold 0 alone."""

_STOPS_AT_ZERO = frozenset({"exact_zero_stop"})


def path_labels(
    path: Path,
    rollouts: Sequence[StateRollouts],
    settings: LabelSettings,
    policy_pass_at_1: float,
) -> PathLabels:
    """Labels of the T steps of `path` from the rows of its states (equations 7, 9 and 10).

    `policy_pass_at_1` is the share of right samples in the problem's first round (see
    `workflows.sampling.pass_at_1`: unbiased, invalid paths counted as not right).
    Raises ItemError `mc_zero_start` (no rollout from the problem itself is right: equation 9 has
    no denominator) or `rollouts_missing`; ConfigurationError for a form that the rows' stop rule
    forbids.
    """
    refuse_unsupported({row.stop_rule for row in rollouts}, settings)
    if (tried := tries_from_the_problem(rollouts)) and not any(row.c for row in tried):
        raise ItemError("mc_zero_start", f"0 of {sum(row.n for row in tried)} rollouts are right")
    n, measured = state_values(path, rollouts)
    zero = settings.after_first_zero == "zero"
    mc = zero_after_first_zero(measured) if zero else measured
    value = [step_value(before, after, settings.form) for before, after in pairwise(mc)]
    labels = [
        is_right(value[t], settings) and not (zero and mc[t + 1] == 0) for t in range(len(value))
    ]
    return PathLabels(
        path_id=path.path_id,
        problem_id=path.problem_id,
        mc=mc,
        n=n,
        value=value,
        labels=labels,
        first_error=first_error(labels),
        form=settings.form,
        threshold=settings.threshold,
        policy_pass_at_1=policy_pass_at_1,
    )


def refuse_unsupported(stop_rules: set[str], settings: LabelSettings) -> None:
    """Raise ConfigurationError where labels of this form can't be made from such rollouts."""
    for rule in sorted(stop_rules):
        if settings.form not in PERMITTED_FORMS.get(rule, frozenset()):
            raise ConfigurationError(
                f"labels of form {settings.form!r} can't be made from rollouts that were stopped "
                f"by {rule!r}: choose another form, or estimate with `mc_budget: exact`"
            )
        if settings.after_first_zero == "keep" and rule in _STOPS_AT_ZERO:
            raise ConfigurationError(
                f"`after_first_zero: keep` needs every state's rollouts, and {rule!r} makes none "
                "after the first MC = 0: estimate with `mc_budget: exact`"
            )


def tries_from_the_problem(rollouts: Sequence[StateRollouts]) -> list[StateRollouts]:
    """The rows of state 0, which is the bare problem."""
    return [row for row in rollouts if row.state == 0]


def state_values(path: Path, rollouts: Sequence[StateRollouts]) -> tuple[list[int], list[float]]:
    """(n, MC) of states 0..T (equation 7), the rounds of a state summed.

    State T is graded by the path's own answer; states after a zero at which the rollouts stopped
    have MC 0. Both have n = 0. Raises ItemError `rollouts_missing`.
    """
    made: dict[int, list[StateRollouts]] = defaultdict(list)
    for row in rollouts:
        made[row.state].append(row)
    n: list[int] = []
    mc: list[float] = []
    for state in range(len(path.steps)):
        if rows := made.get(state):
            n.append(sum(row.n for row in rows))
            mc.append(monte_carlo(sum(row.c for row in rows), n[-1]))
        elif 0 in mc and all(row.stop_rule in _STOPS_AT_ZERO for row in rollouts):
            n.append(0)
            mc.append(0.0)
        else:
            raise ItemError("rollouts_missing", f"state {state} of {len(path.steps)}")
    return [*n, 0], [*mc, 1.0 if path.correct else 0.0]


def zero_after_first_zero(mc: Sequence[float]) -> list[float]:
    """After the first MC = 0 every later MC is 0, the path's own answer included."""
    if 0 not in mc:
        return list(mc)
    first = list(mc).index(0)
    return [*mc[:first], *[0.0] * (len(mc) - first)]


def step_value(before: float, after: float, form: str) -> float:
    """What is compared with the threshold, for a step from MC `before` to MC `after`.

    `ratio`: relative progress P_t = MC(s_t, a_t) / MC(s_t) (equation 9), 0 / 0 being 0; a step
    out of a state with MC 0 (only with `after_first_zero: keep`) lost nothing and counts as 1.
    `difference`: MC(s_t, a_t) - MC(s_t). `hard`, `soft`: MC(s_t, a_t) itself.
    """
    if form == "ratio":
        if before == 0:
            return 1.0 if after > 0 else 0.0
        return after / before
    return after - before if form == "difference" else after


def is_right(value: float, settings: LabelSettings) -> bool:
    """Equation 10: right where the value reaches the threshold; `hard`: where it exceeds it."""
    return value > settings.threshold if settings.form == "hard" else value >= settings.threshold


def first_error(labels: Sequence[bool]) -> int | None:
    """0-based index of the first wrong step; None where all are right."""
    return next((t for t, right in enumerate(labels) if not right), None)


class LabelStage:
    """Stage `label`: thin around `path_labels`."""

    def __init__(self, settings: LabelSettings) -> None:
        self._settings = settings

    async def run(self, rows: ShardRows) -> ShardResult[PathLabels]:
        """Label the selected paths that stage `estimate` finished.

        A path that it dropped has an incomplete set of rows, or MC(s1) = 0; its reason stands in
        that stage's commit and is not counted again. Raises ConfigurationError.
        """
        made: dict[str, list[StateRollouts]] = defaultdict(list)
        for row in rows.rollouts:
            made[row.path_id].append(row)
        samples: dict[str, list[Path]] = defaultdict(list)
        for path in rows.paths:
            samples[path.problem_id].append(path)
        shares = {problem: pass_at_1(paths) for problem, paths in samples.items()}

        async def label(path: Path) -> list[PathLabels]:
            return [path_labels(path, made[path.path_id], self._settings, shares[path.problem_id])]

        selected = [path for path in rows.paths if path.selected]
        finished = [path for path in selected if _finished(path, made[path.path_id])]
        labelled, drops = await process_items(finished, lambda path: path.path_id, label)
        return ShardResult(
            tuple(labelled),
            tuple(drops),
            {
                "steps": sum(len(row.labels) for row in labelled),
                "steps_right": sum(sum(row.labels) for row in labelled),
                "ended_before": len(selected) - len(finished),
            },
        )

    async def close(self) -> None:
        """Nothing to release."""


def _finished(path: Path, rollouts: Sequence[StateRollouts]) -> bool:
    try:
        _, mc = state_values(path, rollouts)
    except ItemError:  # stage `estimate` gave the path up, and counted it
        return False
    return mc[0] > 0
