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
from workflows.label_rule import first_error as first_error
from workflows.label_rule import is_right, step_value
from workflows.posterior import Chain
from workflows.sampling import pass_at_1
from workflows.settings import LabelSettings
from workflows.smoothed_labels import counted, smooth, unexplained

ALL_FORMS = frozenset({"ratio", "difference", "hard", "soft"})
PERMITTED_FORMS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "counts": {
        "exact": ALL_FORMS,
        "exact_zero_stop": ALL_FORMS,
        "first_success": frozenset({"hard"}),
    },
    "posterior": {
        "exact": ALL_FORMS,
        "exact_zero_stop": ALL_FORMS,
        "two_round": ALL_FORMS,
        "adaptive": ALL_FORMS,
    },
}
"""estimate -> stop_rule -> forms of label that such rows support. A rule that stops at the first
success knows only whether MC > 0; rules that go on where a label is in doubt leave too few
rollouts elsewhere for counts alone."""

_STOPS_AT_ZERO = frozenset({"exact_zero_stop", "first_success"})


def path_labels(
    path: Path,
    rollouts: Sequence[StateRollouts],
    settings: LabelSettings,
    policy_pass_at_1: float,
    chain: Chain | None = None,
) -> PathLabels:
    """Labels of the T steps of `path` from the rows of its states (equations 7, 9 and 10).

    With `estimate: posterior` MC values are what `chain` and the rows say together
    (`workflows.smoothed_labels`).
    `policy_pass_at_1` is the share of right samples in the problem's first round (see
    `workflows.sampling.pass_at_1`: unbiased, invalid paths counted as not right).
    Raises ItemError `mc_zero_start` (no rollout from the problem itself is right: equation 9 has
    no denominator) or `rollouts_missing`; ConfigurationError for a form that the rows' stop rule
    forbids.
    """
    refuse_unsupported({row.stop_rule for row in rollouts}, settings)
    if (tried := tries_from_the_problem(rollouts)) and not any(row.c for row in tried):
        raise ItemError("mc_zero_start", f"0 of {sum(row.n for row in tried)} rollouts are right")
    if settings.estimate == "posterior":
        if chain is None:
            raise ConfigurationError("`label.estimate: posterior` needs a chain: see `pilot`")
        n, mc, value, labels = smooth(path, rollouts, settings, chain)
    else:
        n, measured = state_values(path, rollouts)
        mc, value, labels = labels_of(measured, settings)
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


def labels_of(
    measured: Sequence[float], settings: LabelSettings
) -> tuple[list[float], list[float], list[bool]]:
    """(mc, value, labels) from the T + 1 measured MC values of a path (equations 9 and 10)."""
    zero = settings.after_first_zero == "zero"
    mc = zero_after_first_zero(measured) if zero else list(measured)
    value = [step_value(before, after, settings.form) for before, after in pairwise(mc)]
    labels = [
        is_right(value[t], settings) and not (zero and mc[t + 1] == 0) for t in range(len(value))
    ]
    return mc, value, labels


def refuse_unsupported(stop_rules: set[str], settings: LabelSettings) -> None:
    """Raise ConfigurationError where labels of this form can't be made from such rollouts."""
    for rule in sorted(stop_rules):
        if settings.form not in PERMITTED_FORMS[settings.estimate].get(rule, frozenset()):
            raise ConfigurationError(
                f"labels of form {settings.form!r} can't be made by {settings.estimate} from "
                f"rollouts that were stopped by {rule!r}: choose another form or `estimate`, or "
                "estimate with `mc_budget: exact`"
            )
        if rule == "first_success" and settings.threshold != 0:
            raise ConfigurationError(
                "rollouts that were stopped at the first success know only whether MC > 0: "
                f"`threshold` can't be {settings.threshold}, only 0"
            )
        if settings.after_first_zero == "keep" and rule in _STOPS_AT_ZERO:
            raise ConfigurationError(
                f"`after_first_zero: keep` needs every state's rollouts, and {rule!r} makes none "
                "after the first MC = 0: estimate with `mc_budget: exact`"
            )
    if settings.after_first_zero == "keep" and settings.estimate == "posterior":
        raise ConfigurationError(
            "`after_first_zero: keep` asks what follows a MC of 0, and a posterior's chain never "
            "leaves 0: label with `estimate: counts`"
        )


def tries_from_the_problem(rollouts: Sequence[StateRollouts]) -> list[StateRollouts]:
    """The rows of state 0, which is the bare problem."""
    return [row for row in rollouts if row.state == 0]


def state_values(path: Path, rollouts: Sequence[StateRollouts]) -> tuple[list[int], list[float]]:
    """(n, MC) of states 0..T (equation 7), the rounds of a state summed.

    State T is graded by the path's own answer; states after a zero at which the rollouts stopped
    have MC 0. Both have n = 0. Raises ItemError `rollouts_missing`.
    """
    made = counted(rollouts)
    n: list[int] = []
    mc: list[float] = []
    for state in range(len(path.steps)):
        if found := made.get(state):
            n.append(found.n)
            mc.append(monte_carlo(found.c, found.n))
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


class LabelStage:
    """Stage `label`: thin around `path_labels`."""

    def __init__(self, settings: LabelSettings, chain: Chain | None = None) -> None:
        """`chain` is what `estimate: posterior` needs; counts have no use for it."""
        self._settings = settings
        self._chain = chain if settings.estimate == "posterior" else None

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
            rows = made[path.path_id]
            share = shares[path.problem_id]
            return [path_labels(path, rows, self._settings, share, self._chain)]

        selected = [path for path in rows.paths if path.selected]
        finished = [path for path in selected if _finished(path, made[path.path_id], self._chain)]
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


def _finished(path: Path, rollouts: Sequence[StateRollouts], chain: Chain | None) -> bool:
    """False where stage `estimate` gave the path up, and counted it."""
    made = counted(rollouts)
    if 0 not in made or made[0].c == 0:
        return False
    if chain is not None:
        return unexplained(path, rollouts, chain) is None
    try:
        state_values(path, rollouts)
    except ItemError:
        return False
    return True
