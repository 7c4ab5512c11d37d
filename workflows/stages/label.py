"""Labels of steps from Monte-Carlo values: a pure function of a path, its rollouts and settings.

Equations of the paper: 7 is MC(s), 8 the choice of K (`workflows.estimation.fixed`), 9 the relative
progress P_t, 10 the label. Step t leads from state t to state t + 1: MC(s_t, a_t) is the MC of
state t + 1. Where the paper is silent:

- the last state is graded by the path's own answer (1 or 0): a right path's last step always passes
- "the first erroneous step is t' with MC(s_t') = 0" means the step whose successor has MC = 0
- 0 / 0 is wrong

Invariant: the same rows and settings give the same labels. A form of label that the rollouts' stop
rule does not support is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from actors.workers.contract import PureStage, ShardResult, process_now
from storage.errors import ConfigurationError, ItemError
from storage.rows.kinds import LABELS, PATHS, PITS, PROVED, ROLLOUTS, TREE, ShardRows
from storage.rows.records import Path, PathLabels, StateRollouts
from storage.runs.specs import Difference, Spec
from workflows.estimation.fixed import monte_carlo
from workflows.estimation.posterior import Chain, StateCount
from workflows.estimation.smoothed import Smoothed, counted, smooth, unexplained
from workflows.labels.rule import Unlabelled, first_error
from workflows.labels.support import RIGHT_ANSWER, STOPS_AT_ZERO, check_labels, refuse_unsupported
from workflows.labels.values import StepValues, labelled_steps, step_values
from workflows.sampling.quota import pass_at_1
from workflows.settings import SMOOTHED, LabelSettings, StageSettings
from workflows.stages.estimate import states
from workflows.stages.kit import Kit, Stage


def path_labels(
    path: Path,
    rollouts: Sequence[StateRollouts],
    settings: LabelSettings,
    policy_pass_at_1: float,
    smoothed: Smoothed | None = None,
    proved: Sequence[StateRollouts] = (),
) -> PathLabels:
    """Label the T steps of `path` from the rows of its states (equations 7, 9 and 10).

    With `estimate: posterior` MC values are posteriors given the rows of all paths of the problem:
    `smoothed` (`workflows.estimation.smoothed`). `proved`: the rows of another model, for
    `prover: model`. `policy_pass_at_1`: the share of right samples in the problem's first round
    (`workflows.sampling.quota.pass_at_1`).

    Raises ItemError `mc_zero_start` (no rollout from the problem itself is right: equation 9 has
    no denominator), `no_zero` (`unseen_zero: drop`) or `rollouts_missing`. Raises
    ConfigurationError for a form that the rows' stop rule forbids.
    """
    refuse_unsupported({row.stop_rule for row in rollouts}, settings)
    if (tried := tries_from_the_problem(rollouts)) and not any(row.c for row in tried):
        raise ItemError(
            Unlabelled.MC_ZERO_START, f"0 of {sum(row.counted for row in tried)} rollouts are right"
        )
    if settings.estimate == "posterior":
        if smoothed is None:
            raise ConfigurationError("`label.estimate: posterior` needs a chain: see `pilot`")
        n = smoothed.n
        steps = StepValues(smoothed.mc, smoothed.value, smoothed.labels, [])
    else:
        n, measured = state_values(path, rollouts)
        if settings.unseen_zero == "drop" and not path.correct and not _saw_zero(n, measured):
            raise ItemError(Unlabelled.NO_ZERO, f"{sum(n)} rollouts, some right in every state")
        other = state_values(path, proved)[1] if proved else None
        steps = step_values(measured, settings, other)
    kept = labelled_steps(steps.mc, settings)
    labels = steps.labels[:kept]
    return PathLabels(
        path_id=path.path_id,
        problem_id=path.problem_id,
        mc=steps.mc[: kept + 1],
        n=n[: kept + 1],
        value=steps.value[:kept],
        labels=labels,
        first_error=first_error(labels),
        form=settings.form,
        threshold=settings.threshold,
        policy_pass_at_1=policy_pass_at_1,
        q_pi=steps.mc[: kept + 1] if steps.q_mu else [],
        q_mu=steps.q_mu[: kept + 1],
        adv_mu=steps.advantages[:kept],
    )


def _saw_zero(n: Sequence[int], mc: Sequence[float]) -> bool:
    return any(count and not value for count, value in zip(n, mc, strict=True))


def tries_from_the_problem(rollouts: Sequence[StateRollouts]) -> list[StateRollouts]:
    """The rows of state 0, which is the bare problem."""
    return [row for row in rollouts if row.state == 0]


def state_values(path: Path, rollouts: Sequence[StateRollouts]) -> tuple[list[int], list[float]]:
    """(n, MC) of states 0..T (equation 7), the rounds of a state summed.

    State T is graded by the path's own answer. A state without rollouts has n = 0, and an MC that
    follows from the stop rule. It is 0 after a state with MC 0. It is 1 before a state with a right
    rollout (`binary_search`), and in a path that was spared for its right answer. Raises ItemError
    `rollouts_missing`, and `all_cut` where no rollout of a state counts.
    """
    counts = counted(rollouts)
    rules = {row.stop_rule for row in rollouts}
    n: list[int] = []
    mc: list[float] = []
    for state in range(len(path.steps)):
        if (count := counts.get(state)) and not count.n:
            raise ItemError(Unlabelled.ALL_CUT, f"state {state} of {len(path.steps)}")
        if count:
            n.append(count.n)
            mc.append(monte_carlo(count.c, count.n))
        elif (value := _implied(state, path, counts, rules)) is not None:
            n.append(0)
            mc.append(value)
        else:
            raise ItemError(Unlabelled.ROLLOUTS_MISSING, f"state {state} of {len(path.steps)}")
    return [*n, 0], [*mc, 1.0 if path.correct else 0.0]


def _implied(
    state: int, path: Path, counts: Mapping[int, StateCount], rules: set[str]
) -> float | None:
    """The MC of a state without rollouts, if the stop rule implies it; else None."""
    if state == 0:
        return None
    dead = any(count.c == 0 for earlier, count in counts.items() if earlier < state)
    if dead and rules <= STOPS_AT_ZERO | {"binary_search"}:
        return 0.0
    if rules == {RIGHT_ANSWER}:
        return 1.0
    lives = path.correct or any(count.c for later, count in counts.items() if later > state)
    return 1.0 if rules == {"binary_search"} and lives else None


class LabelStage(PureStage):
    """Stage `label`: applies `path_labels` to each path of a shard."""

    def __init__(self, settings: LabelSettings, chain: Chain | None = None) -> None:
        """`chain`: the pilot's chain, which only `estimate: posterior` reads."""
        self._settings = settings
        self._chain = chain if settings.estimate == "posterior" else None

    async def run(self, rows: ShardRows) -> ShardResult[PathLabels]:
        """Label the selected paths that the stages before finished.

        A path that an earlier stage dropped has incomplete rows, or MC(s1) = 0. Its reason is in
        that stage's commit, and is not counted again. Raises ConfigurationError.
        """
        more = (row for pit in rows[PITS] for row in pit.rollouts)
        rollouts = by_path((*rows[ROLLOUTS], *more))
        proved = by_path(rows[PROVED])
        samples = by_problem(rows[PATHS])
        shares = {problem: pass_at_1(paths) for problem, paths in samples.items()}

        def label(path: Path) -> list[PathLabels]:
            name, share = path.path_id, shares[path.problem_id]
            mine, of_prover = smoothed.get(name), proved.get(name, [])
            return [path_labels(path, rollouts[name], self._settings, share, mine, of_prover)]

        def finished(path: Path) -> bool:
            mine = rollouts.get(path.path_id, [])
            if self._settings.prover == "model" and not _finished(
                path, proved.get(path.path_id, []), None
            ):
                return False
            return _finished(path, mine, self._chain)

        selected = [path for path in rows[PATHS] if path.selected]
        going_on = [path for path in selected if finished(path)]
        smoothed = self._smoothed(going_on, rollouts)
        labelled, drops = process_now(going_on, lambda path: path.path_id, label)
        return ShardResult(
            tuple(labelled),
            tuple(drops),
            {
                "steps": sum(len(row.labels) for row in labelled),
                "steps_right": sum(sum(row.labels) for row in labelled),
                "ended_before": len(selected) - len(going_on),
            },
        )

    def _smoothed(
        self, paths: Sequence[Path], rollouts: Mapping[str, Sequence[StateRollouts]]
    ) -> dict[str, Smoothed]:
        """path_id -> labels by posteriors, problem by problem; none without a chain."""
        if self._chain is None:
            return {}
        made: dict[str, Smoothed] = {}
        for of_problem in by_problem(paths).values():
            made |= smooth(of_problem, rollouts, states, self._settings, self._chain)
        return made


def by_problem(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Group paths: problem_id -> its paths."""
    by_problem_id: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        by_problem_id[path.problem_id].append(path)
    return dict(by_problem_id)


def by_path(rollouts: Sequence[StateRollouts]) -> dict[str, list[StateRollouts]]:
    """Group rows by path: path_id -> its rows."""
    by_path_id: dict[str, list[StateRollouts]] = defaultdict(list)
    for row in rollouts:
        by_path_id[row.path_id].append(row)
    return dict(by_path_id)


def _finished(path: Path, rollouts: Sequence[StateRollouts], chain: Chain | None) -> bool:
    """False if the stage that made these rollouts dropped the path."""
    counts = counted(rollouts)
    if 0 not in counts or counts[0].c == 0:
        return False
    if chain is not None:
        return unexplained(path, rollouts, chain) is None
    try:
        state_values(path, rollouts)
    except ItemError:
        return False
    return True


def _check(settings: StageSettings) -> None:
    check_labels(settings.label, settings.road)


def _redone(setting: str, difference: Difference, spec: Spec) -> bool | None:
    """A changed pilot remakes labels only if the budget doesn't smooth rollouts itself."""
    if setting not in ("estimate.pilot", "estimate.pilot_paths"):
        return None
    return spec.configuration["stages"][ROLLOUTS.stage]["mc_budget"] not in SMOOTHED


def _labeller(kit: Kit[StageSettings]) -> LabelStage:
    return LabelStage(kit.settings.label, kit.chain)


LABEL = Stage(
    rows=LABELS,
    role="cpu",
    reads=(PATHS, ROLLOUTS, PITS, PROVED, TREE),
    without=(ROLLOUTS, PITS, PROVED, TREE),
    one_of=(ROLLOUTS, TREE),
    says="labels every step by what it did to the chance of a right answer",
    settings=LabelSettings,
    check=_check,
    redone=_redone,
    passed="estimated and labelled",
    passed_after={TREE.stage: "of the trees, labelled"},
    caveat="""\
- Step labels are Monte-Carlo estimates made with one completion model. A step that this model
  recovers from can be labelled right although it is wrong, and the other way round where it fails.
""",
    drops=tuple(Unlabelled),
    make=_labeller,
)
