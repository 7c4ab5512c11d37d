"""Budgets: what they ask for, what their labels are worth, and how a pilot enters a run."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path as File
from typing import Any

import numpy as np
import pytest

from actors.completer import Count, RolloutBudget
from actors.stage import Stage
from demo import check
from launch.config import load
from storage.audit import audit
from storage.errors import ConfigurationError, NothingFound, SpecMismatch
from storage.pilots import pilot_record
from storage.records import Path, PathLabels, StateRollouts
from storage.runs import Run
from storage.stores import open_store
from tests.local_cluster import LocalCluster
from tests.scripted_world import InProcessSandbox, ScriptedWorld, world_problems, write_problems
from workflows.budgets import FirstSuccess, PosteriorBudget, budget_of, check_budget, delta_of
from workflows.build import continue_run, finish, start_run
from workflows.chain_fit import fit
from workflows.configuration import BuildConfig
from workflows.pilot import chain_in
from workflows.pilot_gate import gate_of
from workflows.posterior import CERTAINLY_DEAD, Chain, Observed, believe
from workflows.relabel import relabel
from workflows.replay import Outcomes, allocated
from workflows.settings import EstimateSettings, LabelSettings
from workflows.stages import StageMaker
from workflows.step_values import step_values


def benchmark() -> Any:
    """`benchmarks/label_worlds.py`, which is a script and no package."""
    file = File(__file__).parents[3] / "benchmarks" / "label_worlds.py"
    spec = importlib.util.spec_from_file_location("label_worlds", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["label_worlds"] = module
    spec.loader.exec_module(module)
    return module


WORLDS = benchmark()
POSTERIOR = LabelSettings(estimate="posterior")
HARD = LabelSettings(form="hard", threshold=0)
PROBLEMS = world_problems(14)
SCRIPTED = {"kind": "scripted", "model": "scripted"}


def pilot(paths: int = 200, k: int = 32, seed: int = 0) -> Observed:
    """Paths that stay where they are, halve, or die; as many right as wrong."""
    rng = np.random.default_rng(seed)
    q = np.zeros((paths, 6))
    q[:, 0] = rng.choice([0.3, 0.6, 0.9], paths)
    for t in range(1, 6):
        q[:, t] = q[:, t - 1] * rng.choice([1.0, 0.5, 0.0], paths, p=[0.8, 0.1, 0.1])
    correct = rng.random(paths) < q[:, 5]
    n = np.full(q.shape, k)
    return Observed(n, rng.binomial(n, q), np.full(paths, 6), correct)


CHAIN = fit(pilot())


def budget(kind: str, **change: Any) -> RolloutBudget:
    settings = EstimateSettings(mc_budget=kind, pilot="p", **change)  # type: ignore[arg-type]
    return budget_of(settings, HARD if kind == "first_success" else POSTERIOR, CHAIN)


def counts(*made: tuple[int, int]) -> dict[int, Count]:
    """State -> Count from (c, n) per state."""
    return {state: Count(n, c) for state, (c, n) in enumerate(made)}


@pytest.mark.parametrize(
    ("kind", "first"), [pytest.param("two_round", 8), pytest.param("adaptive", 8)]
)
def test_states_are_entered_from_left_to_right_with_few_rollouts(kind: str, first: int) -> None:
    rule = budget(kind)
    assert list(rule.wants(3, 32, counts((29, 32)), True)) == [(1, first)]
    assert list(rule.wants(3, 32, counts((29, 32), (8, 8)), True)) == [(2, first)]


@pytest.mark.parametrize("kind", ["two_round", "adaptive"])
def test_a_path_whose_labels_are_clear_gets_no_more(kind: str) -> None:
    assert not budget(kind).wants(3, 32, counts((29, 32), (8, 8), (8, 8)), True)


@pytest.mark.parametrize("kind", ["two_round", "adaptive"])
def test_nothing_is_rolled_out_after_a_state_that_is_certainly_dead(kind: str) -> None:
    assert not budget(kind).wants(4, 32, counts((29, 32), (0, 32)), False)


@pytest.mark.parametrize(("kind", "more"), [("two_round", 24), ("adaptive", 8)])
def test_an_uncertain_label_has_the_state_topped_up_that_is_known_worse(
    kind: str, more: int
) -> None:
    asked = list(budget(kind).wants(3, 32, counts((20, 32), (4, 8), (2, 8)), False))
    assert asked
    assert {n for _, n in asked} == {more}
    assert {state for state, _ in asked} <= {1, 2}, "state 0 has its K already"


def played(rule: RolloutBudget, q: Sequence[float], k: int, correct: bool, seed: int) -> Any:
    """(rollouts per state, turns) of one path until its budget is content."""
    rng = np.random.default_rng(seed)
    made = {0: Count(k, int(rng.binomial(k, q[0])))}
    turns = 0
    while wants := rule.wants(len(q), k, made, correct):
        turns += 1
        for state, n in wants:
            before = made.get(state, Count(0, 0))
            made[state] = Count(before.n + n, before.c + int(rng.binomial(n, q[state])))
        assert turns < 1000
    return [made.get(state, Count(0, 0)).n for state in range(len(q))], turns


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("correct", [True, False])
def test_every_budget_ends_and_no_state_exceeds_its_cap(seed: int, correct: bool) -> None:
    rng = np.random.default_rng(seed)
    q = rng.choice([0.02, 0.2, 0.5, 0.9], rng.integers(2, 9))
    for rule, most in (
        (budget("two_round"), 64),
        (budget("two_round", delta=0.0), 64),
        (budget("adaptive"), 64),
        (budget("adaptive", cap=2.0, delta=0.01), 128),
        (budget("adaptive", cap=0.5), 64),
        (budget("first_success"), 64),
    ):
        n, _ = played(rule, q.tolist(), 64, correct, seed)
        assert max(n) <= most, (rule.stop_rule, seed)


def test_a_budget_asks_about_one_path_what_the_replay_decides_for_many() -> None:
    rng = np.random.default_rng(1)
    hits = rng.random((40, 6, 64)) < rng.choice([0.05, 0.4, 0.8], (40, 6, 1))
    outcomes = Outcomes.of(hits, np.full(40, 6), rng.random(40) < 0.5)
    for kind in ("two_round", "adaptive"):
        settings = EstimateSettings(mc_budget=kind, pilot="p")  # type: ignore[arg-type]
        k = np.full(40, 64)
        many = allocated(outcomes, k, CHAIN, settings, POSTERIOR).seen.n
        rule = PosteriorBudget(settings, POSTERIOR, CHAIN)
        for row in range(40):
            n = {0: 64}
            right = outcomes.right[row]
            correct = bool(outcomes.correct[row])
            while wants := rule.wants(
                6, 64, {s: Count(m, int(right[s, m])) for s, m in n.items()}, correct
            ):
                for state, more in wants:
                    n[state] = n.get(state, 0) + more
            assert [n.get(state, 0) for state in range(6)] == many[row].tolist()


@pytest.mark.parametrize(
    ("made", "wants"),
    [
        pytest.param([(3, 32)], [(1, 8)], id="enters_the_next_state"),
        pytest.param([(3, 32), (0, 8)], [(1, 8)], id="goes_on_without_success"),
        pytest.param([(3, 32), (0, 16), ], [(1, 4)], id="up_to_k"),
        pytest.param([(3, 32), (1, 8)], [(2, 8)], id="next_after_the_first_success"),
        pytest.param([(3, 32), (0, 20)], [], id="none_after_a_state_without_success"),
        pytest.param([(3, 32), (1, 8), (2, 8)], [], id="last_state_graded"),
    ],
)  # fmt: skip
def test_first_success_goes_on_until_one_rollout_is_right(
    made: list[tuple[int, int]], wants: list[tuple[int, int]]
) -> None:
    rule = FirstSuccess(EstimateSettings(mc_budget="first_success"))
    assert list(rule.wants(3, 20, counts(*made), True)) == wants


REFUSED = [
    pytest.param(EstimateSettings(mc_budget="two_round", pilot="p"), LabelSettings(),
                 "estimate: posterior", id="two_round_by_counts"),
    pytest.param(EstimateSettings(mc_budget="adaptive"), POSTERIOR, "estimate.pilot",
                 id="no_pilot"),
    pytest.param(EstimateSettings(), POSTERIOR, "estimate.pilot", id="posterior_of_exact"),
    pytest.param(EstimateSettings(mc_budget="first_success"), LabelSettings(), "form: hard",
                 id="ratio_of_first_success"),
    pytest.param(EstimateSettings(mc_budget="first_success"), replace(HARD, threshold=0.5),
                 "threshold: 0", id="hard_above_half"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "labels", "message"), REFUSED)
def test_a_budget_that_cannot_give_the_labels_is_refused_before_any_work(
    settings: EstimateSettings, labels: LabelSettings, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_budget(settings, labels)


def test_settings_that_fit_are_not_refused() -> None:
    check_budget(EstimateSettings(), LabelSettings())
    check_budget(EstimateSettings(mc_budget="first_success"), HARD)
    for kind in ("exact", "exact_zero_stop", "two_round", "adaptive"):
        check_budget(
            EstimateSettings(mc_budget=kind, pilot="p"),  # type: ignore[arg-type]
            POSTERIOR,
        )
    assert delta_of(EstimateSettings(mc_budget="adaptive")) == 0.1
    assert delta_of(EstimateSettings(mc_budget="two_round", delta=0.02)) == 0.02


@pytest.mark.parametrize("world", WORLDS.WORLDS, ids=lambda world: world.name)
def test_no_world_has_worse_labels_for_about_half_the_rollouts(world: Any) -> None:
    """The small version of `benchmarks/label_worlds.py`: 80 problems instead of 250."""
    print(f"world {world.name}, seed 11")
    found = {row.method: row for row in WORLDS.measure(world, 80, seed=11)}
    WORLDS.show(list(found.values()))
    exact, rerun = found["exact"], found["exact, rerun"]
    assert found["exact_zero_stop"].differs == 0
    assert found["exact_zero_stop"].rollouts < exact.rollouts
    for name in ("two_round", "adaptive"):
        assert found[name].error <= exact.error
        assert found[name].saved >= 0.45, "of 640 solutions; half and more of the benchmark's 2,000"
        assert found[name].differs <= rerun.differs + 0.01


def test_the_gate_passes_a_pilot_and_tells_its_noise() -> None:
    settings = EstimateSettings(mc_budget="two_round", pilot="p")
    gate = gate_of(pilot(), settings, POSTERIOR)
    print(gate)
    assert gate.passed
    assert gate.floor > 0
    assert gate.saved > 0.3
    assert gate == gate_of(pilot(), settings, POSTERIOR)


def test_the_gate_stops_a_budget_that_decides_without_looking() -> None:
    """With cap 0.05 and delta 0.5 every label is decided on a rollout or two."""
    settings = EstimateSettings(mc_budget="adaptive", pilot="p", delta=0.5, batch=1, cap=0.05)
    gate = gate_of(pilot(), settings, POSTERIOR)
    print(gate)
    assert not gate.passed


# A whole build of the scripted world, exact, and others beside it.


SMALL = {"k_hard": 32, "k_medium": 24, "k_easy": 16}


class Build:
    """One build of the scripted world in a store that others share."""

    def __init__(self, folder: File, run: str, budget: Mapping[str, Any], **label: Any) -> None:
        write_problems(PROBLEMS, folder / "problems.jsonl")
        config = {
            "run": run,
            "problems": "problems.jsonl",
            "shard_size": 4,
            "models": {"policy": SCRIPTED, "completer": SCRIPTED, "rationale": SCRIPTED},
            "stages": {
                "seed": 3,
                "sample": {"cap": 64},
                "estimate": {"k_hard": 64, "k_medium": 48, "k_easy": 32, "probe": 8, **budget},
                "label": label,
            },
        }
        (folder / f"{run}.yaml").write_text(json.dumps(config))
        self.config: BuildConfig = load(folder / f"{run}.yaml", {"store": f"file:{folder}/store"})
        self.world = ScriptedWorld(PROBLEMS)
        self.run = start_run(self.config, open_store(self.config.store), None)

    def work(self) -> Build:
        """Build to the end."""
        asyncio.run(continue_run(self.run, self.config, self.cluster(), 2, lambda event: None))
        finish(self.run)
        return self

    def cluster(self) -> LocalCluster:
        chain = chain_in(self.run)

        def stages(role: str) -> Mapping[str, Stage]:
            maker = StageMaker(self.config, self.run.name, chain)
            if role == "cpu":
                return maker.pure()
            return maker.around(role, self.world.engine(role), InProcessSandbox())

        return LocalCluster(self.run, stages)

    def labels(self) -> list[PathLabels]:
        return all_rows(self.run, "label", PathLabels)

    @property
    def rollouts(self) -> int:
        return self.run.totals("estimate").counts["rollouts"]


def all_rows(run: Run, stage: str, kind: type[Any]) -> list[Any]:
    return [r for shard in range(run.spec.plan.shards) for r in run.read_rows(stage, shard, kind)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> File:
    return tmp_path_factory.mktemp("budgets")


@pytest.fixture(scope="module")
def exact(folder: File) -> Build:
    return Build(folder, "exact", {"mc_budget": "exact"}).work()


@pytest.fixture(scope="module")
def small(folder: File) -> Build:
    """Exact, with so few rollouts that a right one is often missed."""
    return Build(folder, "small", {"mc_budget": "exact", **SMALL}).work()


@pytest.fixture(scope="module")
def two_round(folder: File, exact: Build) -> Build:
    return Build(
        folder, "two", {"mc_budget": "two_round", "pilot": "exact"}, estimate="posterior"
    ).work()


def test_exact_zero_stop_gives_the_labels_of_exact_on_the_same_seeds_for_fewer_rollouts(
    folder: File, small: Build
) -> None:
    stopped = Build(folder, "stopped", {"mc_budget": "exact_zero_stop", **SMALL}).work()
    saved = 1 - stopped.rollouts / small.rollouts
    print(f"run seed 3: {small.rollouts} rollouts, {stopped.rollouts} with the stop: {saved:.1%}")
    assert [(r.path_id, r.labels, r.mc, r.first_error) for r in stopped.labels()] == [
        (r.path_id, r.labels, r.mc, r.first_error) for r in small.labels()
    ]
    assert saved > 0


def test_a_two_round_build_is_finished_audited_and_cheaper(exact: Build, two_round: Build) -> None:
    assert audit(two_round.run).findings == ()
    assert {r.path_id for r in two_round.labels()} == {r.path_id for r in exact.labels()}
    print(f"{exact.rollouts} rollouts exact, {two_round.rollouts} in two rounds")
    assert two_round.rollouts < 0.8 * exact.rollouts
    made: list[StateRollouts] = all_rows(two_round.run, "estimate", StateRollouts)
    assert {row.stop_rule for row in made} == {"two_round"}
    assert {row.round for row in made} == {0, 1}
    record = pilot_record(two_round.run.store, "two")
    assert record is not None
    assert record.gate.passed
    assert (record.pilot, record.rollouts) == ("exact", exact.rollouts)


def test_a_two_round_build_has_no_more_false_labels_than_an_exact_one(
    exact: Build, two_round: Build
) -> None:
    """True success probabilities of the scripted completer: 0.9 before the first slip, then 0.1."""
    by_text = {problem.problem_id: problem for problem in PROBLEMS}
    truth: dict[str, list[bool]] = {}
    for path in all_rows(exact.run, "sample", Path):
        slip = check.first_error(by_text[path.problem_id], path.steps)
        q = [0.9 if slip is None or t <= slip else 0.1 for t in range(len(path.steps))]
        truth[path.path_id] = step_values([*q, float(path.correct)], LabelSettings()).labels

    def false_share(build: Build) -> float:
        pairs = [
            said == true
            for row in build.labels()
            for said, true in zip(row.labels, truth[row.path_id], strict=True)
        ]
        return 1 - sum(pairs) / len(pairs)

    print(f"false labels: exact {false_share(exact):.1%}, two rounds {false_share(two_round):.1%}")
    assert false_share(two_round) <= false_share(exact)


def test_every_label_of_a_two_round_build_was_decided_or_has_its_states_at_k(
    two_round: Build,
) -> None:
    chain = chain_in(two_round.run)
    assert chain is not None
    made: list[StateRollouts] = all_rows(two_round.run, "estimate", StateRollouts)
    labelled = {row.path_id for row in two_round.labels()}
    for path in all_rows(two_round.run, "sample", Path):
        if path.path_id not in labelled:
            continue
        n: dict[int, list[int]] = {}
        for row in made:
            if row.path_id == path.path_id:
                have = n.setdefault(row.state, [0, 0])
                have[0], have[1] = have[0] + row.n, have[1] + row.c
        pairs = {state: (have[0], have[1]) for state, have in n.items()}
        beliefs = believe(chain, Observed.of([(len(path.steps), path.correct, pairs)]))
        k = n[0][0]
        for t, error in enumerate(beliefs.error(POSTERIOR)[0]):
            asked = [s for s in (t, t + 1) if s in n]
            assert error <= 0.25 or all(n[s][0] >= k for s in asked), (path.path_id, t)
        if len(n) < len(path.steps):
            assert beliefs.dead[0, len(n) - 1] >= CERTAINLY_DEAD


async def _hard(run: Run) -> dict[str, list[bool]]:
    return {row.path_id: row.labels for row in (await relabel(run, HARD)).labels}


def test_first_success_gives_the_hard_labels_of_exact_on_the_same_seeds_for_a_few_rollouts(
    folder: File, exact: Build
) -> None:
    first = Build(folder, "first", {"mc_budget": "first_success"}, form="hard", threshold=0).work()
    saved = 1 - first.rollouts / exact.rollouts
    print(f"run seed 3: {exact.rollouts} rollouts exact, {first.rollouts}: {saved:.1%} saved")
    assert {row.path_id: row.labels for row in first.labels()} == asyncio.run(_hard(exact.run))
    assert saved > 0.5


def test_an_adaptive_build_asks_in_batches_and_audits_clean(folder: File, exact: Build) -> None:
    built = Build(
        folder, "adaptive", {"mc_budget": "adaptive", "pilot": "exact"}, estimate="posterior"
    ).work()
    made: list[StateRollouts] = all_rows(built.run, "estimate", StateRollouts)
    print(f"{exact.rollouts} rollouts exact, {built.rollouts} adaptive")
    assert audit(built.run).findings == ()
    assert {row.n for row in made if row.state > 0} == {8}
    assert {r.path_id for r in built.labels()} == {r.path_id for r in exact.labels()}
    assert built.rollouts < 0.5 * exact.rollouts


def test_repeating_a_two_round_build_gives_the_same_bytes(
    folder: File, two_round: Build, tmp_path: File
) -> None:
    again = Build(
        folder, "again", {"mc_budget": "two_round", "pilot": "exact"}, estimate="posterior"
    ).work()
    for stage in ("estimate", "label", "consensus"):
        assert {c.shard: c.sha256 for c in again.run.commits(stage)} == {
            c.shard: c.sha256 for c in two_round.run.commits(stage)
        }


def test_starting_a_run_again_keeps_the_chain_it_was_started_with(two_round: Build) -> None:
    before = two_round.run.store.get("runs/two/chain.json")
    start_run(two_round.config, two_round.run.store, None)
    assert two_round.run.store.get("runs/two/chain.json") == before


@pytest.mark.parametrize(
    ("pilot_name", "error", "message"),
    [
        pytest.param("nowhere", NothingFound, "no run 'nowhere'", id="no_such_run"),
        pytest.param("unfinished", ConfigurationError, "not finished", id="unfinished"),
        pytest.param("two", ConfigurationError, "mc_budget: two_round", id="not_exact"),
    ],
)
def test_an_unfit_pilot_is_refused_and_leaves_no_run_behind(
    folder: File, two_round: Build, pilot_name: str, error: type[Exception], message: str
) -> None:
    if pilot_name == "unfinished":
        Build(folder, "unfinished", {"mc_budget": "exact"})
    refused = f"refused-{pilot_name}"
    with pytest.raises(error, match=message):
        Build(folder, refused, {"mc_budget": "adaptive", "pilot": pilot_name}, estimate="posterior")
    assert not list(two_round.run.store.list(f"runs/{refused}/"))


def test_a_pilot_too_small_for_its_own_noise_stops_the_run_with_the_numbers(
    folder: File, small: Build
) -> None:
    """After a slip one rollout in ten is right: halves of 8 often see none and call all wrong."""
    with pytest.raises(ConfigurationError, match=r"run by 2\d\.\d%, those of two exact runs by 1\d"):
        Build(folder, "x", {"mc_budget": "two_round", "pilot": "small"}, estimate="posterior")


def test_the_pilot_is_part_of_what_a_run_is(folder: File, two_round: Build) -> None:
    with pytest.raises(SpecMismatch, match="pilot"):
        Build(folder, "two", {"mc_budget": "two_round", "pilot": "again"}, estimate="posterior")


def test_a_chain_survives_the_store(exact: Build, two_round: Build) -> None:
    chain = chain_in(two_round.run)
    assert isinstance(chain, Chain)
    np.testing.assert_allclose(chain.move.sum(axis=1), 1)
    assert chain_in(exact.run) is None
