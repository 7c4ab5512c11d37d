"""Whole builds of the scripted world under each budget, an exact one and others beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path as File
from typing import Any

import numpy as np
import pytest

from actors.workers.contract import Processor
from demo import check
from launch.config import load
from storage.audit import audit
from storage.errors import ConfigurationError, NothingFound, SpecMismatch
from storage.objects.opening import open_store
from storage.rows.kinds import LABELS, PATHS, ROLLOUTS, Record, Rows, ShardRows
from storage.rows.records import PathLabels, StateRollouts
from storage.runs.pilot_record import pilot_record
from storage.runs.run import Run
from tests.support.local_cluster import LocalCluster
from tests.support.scripted_world import (
    InProcessSandbox,
    ScriptedWorld,
    scripted_build,
    world_problems,
    write_problems,
)
from workflows.builds.configuration import BuildConfig
from workflows.builds.derive import start_derived, take_over
from workflows.estimation.pilot import chain_in
from workflows.estimation.posterior import CERTAINLY_DEAD, Chain, Observed, believe_by_rule
from workflows.labels.values import step_values
from workflows.runs.driving import continue_run
from workflows.runs.run import finish
from workflows.runs.starting import planned, start_run
from workflows.runs.workers import StageMaker, makers
from workflows.settings import LabelSettings
from workflows.stages.label import LabelStage

POSTERIOR = LabelSettings(estimate="posterior")
HARD = LabelSettings(form="hard", threshold=0)
PROBLEMS = world_problems(14)
SMALL = {"k_hard": 32, "k_medium": 24, "k_easy": 16}


class Build:
    """One build of the scripted world in a store that others share."""

    def __init__(self, folder: File, run: str, budget: Mapping[str, Any], **label: Any) -> None:
        write_problems(PROBLEMS, folder / "problems.jsonl")
        estimate = {"k_hard": 64, "k_medium": 48, "k_easy": 32, "probe": 8, **budget}
        config = scripted_build(run, estimate, label=label)
        (folder / f"{run}.yaml").write_text(json.dumps(config))
        self.config: BuildConfig = load(folder / f"{run}.yaml", store=f"file:{folder}/store")
        self.world = ScriptedWorld(PROBLEMS)
        self.run = start_run(self.config, open_store(self.config.store), None)

    def work(self) -> Build:
        """Build to the end."""
        asyncio.run(continue_run(self.run, self.config, self.cluster(), 2, lambda event: None))
        finish(self.run)
        return self

    def cluster(self) -> LocalCluster:
        chain = chain_in(self.run)

        def stages(role: str) -> Mapping[str, Processor]:
            maker = StageMaker(self.config, self.run.name, chain)
            if role == "cpu":
                return maker.pure()
            return maker.around(role, self.world.engine(role), InProcessSandbox())

        return LocalCluster(self.run, stages)

    def labels(self) -> list[PathLabels]:
        return all_rows(self.run, LABELS)

    @property
    def rollouts(self) -> int:
        return self.run.totals("estimate").counts["rollouts"]


def all_rows(run: Run, kind: Rows[Record]) -> list[Record]:
    return [r for shard in range(run.spec.plan.shards) for r in run.read_rows(kind, shard)]


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
    made: list[StateRollouts] = all_rows(two_round.run, ROLLOUTS)
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
    for path in all_rows(exact.run, PATHS):
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
    made: list[StateRollouts] = all_rows(two_round.run, ROLLOUTS)
    labelled = {row.path_id for row in two_round.labels()}
    for path in all_rows(two_round.run, PATHS):
        if path.path_id not in labelled:
            continue
        n: dict[int, list[int]] = {}
        for row in made:
            if row.path_id == path.path_id:
                have = n.setdefault(row.state, [0, 0])
                have[0], have[1] = have[0] + row.n, have[1] + row.c
        pairs = {state: (have[0], have[1]) for state, have in n.items()}
        beliefs = believe_by_rule(chain, Observed.of([(len(path.steps), path.correct, pairs)]))
        k = n[0][0]
        for t, error in enumerate(beliefs.error(POSTERIOR)[0]):
            asked = [s for s in (t, t + 1) if s in n]
            assert error <= 0.25 or all(n[s][0] >= k for s in asked), (path.path_id, t)
        if len(n) < len(path.steps):
            assert beliefs.dead[0, len(n) - 1] >= CERTAINLY_DEAD


async def _labels(run: Run, settings: LabelSettings) -> list[PathLabels]:
    """Of the stored rollouts, by the stage that ships."""
    found: list[PathLabels] = []
    for shard in range(run.spec.plan.shards):
        rows = ShardRows(
            {
                PATHS: tuple(run.read_rows(PATHS, shard)),
                ROLLOUTS: tuple(run.read_rows(ROLLOUTS, shard)),
            }
        )
        found += (await LabelStage(settings, chain_in(run)).run(rows)).rows
    return found


def test_first_success_gives_the_hard_labels_of_exact_on_the_same_seeds_for_a_few_rollouts(
    folder: File, exact: Build
) -> None:
    first = Build(folder, "first", {"mc_budget": "first_success"}, form="hard", threshold=0).work()
    saved = 1 - first.rollouts / exact.rollouts
    print(f"run seed 3: {exact.rollouts} rollouts exact, {first.rollouts}: {saved:.1%} saved")
    assert [(row.path_id, row.labels) for row in first.labels()] == [
        (row.path_id, row.labels) for row in asyncio.run(_labels(exact.run, HARD))
    ]
    assert saved > 0.5


def test_an_adaptive_build_asks_in_batches_and_audits_clean(folder: File, exact: Build) -> None:
    built = Build(
        folder, "adaptive", {"mc_budget": "adaptive", "pilot": "exact"}, estimate="posterior"
    ).work()
    made: list[StateRollouts] = all_rows(built.run, ROLLOUTS)
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
    said = r"run by 2\d\.\d%, those of two exact runs by 1\d"
    with pytest.raises(ConfigurationError, match=said):
        Build(folder, "x", {"mc_budget": "two_round", "pilot": "small"}, estimate="posterior")


def test_the_pilot_is_part_of_what_a_run_is(folder: File, two_round: Build) -> None:
    with pytest.raises(SpecMismatch, match="pilot"):
        Build(folder, "two", {"mc_budget": "two_round", "pilot": "again"}, estimate="posterior")


def test_a_chain_survives_the_store(exact: Build, two_round: Build) -> None:
    chain = chain_in(two_round.run)
    assert isinstance(chain, Chain)
    np.testing.assert_allclose(chain.move.sum(axis=1), 1)
    assert chain_in(exact.run) is None


def test_an_exact_run_is_labelled_by_the_posteriors_of_its_own_rollouts(
    folder: File, exact: Build
) -> None:
    """`build --from`, with the run as its own pilot."""
    config = replace(
        exact.config,
        run="smoothed",
        stages=replace(
            exact.config.stages,
            estimate=replace(exact.config.stages.estimate, pilot="exact"),
            label=POSTERIOR,
        ),
    )
    run = start_derived(config, exact.run.store, planned(config, None), exact.run)
    found = asyncio.run(take_over(run, makers(run, config)["cpu"]))
    assert found is not None
    assert set(found.made) == {"label", "consensus", "export"}
    labels: list[PathLabels] = all_rows(run, LABELS)
    assert labels == asyncio.run(_labels(run, POSTERIOR))
    assert [row.path_id for row in labels] == [row.path_id for row in exact.labels()]
    assert [row.labels for row in labels] != [row.labels for row in exact.labels()]


async def test_labels_that_the_stored_rollouts_cannot_give_are_refused(exact: Build) -> None:
    """The same stage labels a build and a derived run."""
    given = Run.open(exact.run.store, "first")
    with pytest.raises(ConfigurationError, match="stopped by 'first_success'"):
        await _labels(given, LabelSettings())
    with pytest.raises(ConfigurationError, match=r"by posterior .* 'first_success'"):
        await _labels(given, POSTERIOR)
    with pytest.raises(ConfigurationError, match="needs a chain"):
        await _labels(exact.run, POSTERIOR)
