"""Relabelling: the stages that made the labels, on stored rows, and nothing else."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path as File
from typing import Any

import numpy as np
import pytest

from actors.stage import Stage
from launch.config import load
from storage.errors import ConfigurationError
from storage.object_store import ObjectStore
from storage.records import Agreement, Path, PathLabels, Problem, Rationale, StateRollouts
from storage.runs import Run
from storage.specs import ShardPlan, Spec, input_digest
from storage.stores import open_store
from tests.label_rows import path, rows
from tests.local_cluster import LocalCluster
from tests.scripted_world import InProcessSandbox, ScriptedWorld, world_problems, write_problems
from workflows.build import continue_run, finish, start_run
from workflows.labels import path_labels
from workflows.relabel import own_chain, relabel
from workflows.sampling import pass_at_1
from workflows.settings import ConsensusSettings, LabelSettings
from workflows.stages import StageMaker

PROBLEMS = world_problems(10)
SCRIPTED = {"kind": "scripted", "model": "scripted"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished build of the scripted world, every state rolled out."""
    folder = tmp_path_factory.mktemp("relabel")
    write_problems(PROBLEMS, folder / "problems.jsonl")
    config = {
        "run": "r",
        "problems": "problems.jsonl",
        "shard_size": 4,
        "models": {"policy": SCRIPTED, "completer": SCRIPTED, "rationale": SCRIPTED},
        "stages": {
            "seed": 5,
            "sample": {"cap": 64},
            "estimate": {
                "mc_budget": "exact", "k_hard": 16, "k_medium": 12, "k_easy": 8, "probe": 8,
            },
        },
    }  # fmt: skip
    (folder / "build.yaml").write_text(json.dumps(config))
    loaded = load(folder / "build.yaml", {"store": f"file:{folder}/store"})
    run = start_run(loaded, open_store(loaded.store), None)
    world = ScriptedWorld(PROBLEMS)

    def stages(role: str) -> Mapping[str, Stage]:
        maker = StageMaker(loaded, run.name)
        if role == "cpu":
            return maker.pure()
        return maker.around(role, world.engine(role), InProcessSandbox())

    cluster = LocalCluster(run, stages)
    asyncio.run(continue_run(run, loaded, cluster, 2, lambda event: None))
    finish(run)
    return run


def all_rows(run: Run, stage: str, kind: type[Any]) -> list[Any]:
    return [r for shard in range(run.spec.plan.shards) for r in run.read_rows(stage, shard, kind)]


async def test_the_same_settings_give_the_labels_and_agreements_that_are_stored(
    built: Run,
) -> None:
    again = await relabel(built, LabelSettings(), ConsensusSettings())
    assert list(again.labels) == all_rows(built, "label", PathLabels)
    assert list(again.agreements) == all_rows(built, "consensus", Agreement)
    assert len(again.labels) > 40


FORMS = [
    pytest.param(LabelSettings(threshold=0.5), id="other_threshold"),
    pytest.param(LabelSettings(form="difference", threshold=-0.3), id="difference"),
    pytest.param(LabelSettings(form="hard", threshold=0), id="hard"),
    pytest.param(LabelSettings(form="soft", threshold=0.5), id="soft"),
    pytest.param(LabelSettings(after_first_zero="keep"), id="keep"),
]


@pytest.mark.parametrize("settings", FORMS)
async def test_other_settings_give_what_a_build_with_them_would_have(
    built: Run, settings: LabelSettings
) -> None:
    found = {row.path_id: row for row in (await relabel(built, settings)).labels}
    paths: list[Path] = all_rows(built, "sample", Path)
    made: list[StateRollouts] = all_rows(built, "estimate", StateRollouts)
    for row in paths:
        if row.path_id in found:
            of_path = [r for r in made if r.path_id == row.path_id]
            share = pass_at_1([p for p in paths if p.problem_id == row.problem_id])
            assert found[row.path_id] == path_labels(row, of_path, settings, share)
    stored = {row.path_id: row.labels for row in all_rows(built, "label", PathLabels)}
    assert found.keys() == stored.keys()
    assert {name: row.labels for name, row in found.items()} != stored


async def test_another_consensus_is_counted_from_the_stored_votes(built: Run) -> None:
    strict = await relabel(built, LabelSettings(), ConsensusSettings(rule="all_steps"))
    loose = await relabel(built, LabelSettings(), ConsensusSettings(rule="first_error"))
    everything = await relabel(built, LabelSettings(), ConsensusSettings(rule="none"))
    kept = [sum(row.kept for row in made.agreements) for made in (strict, loose, everything)]
    print(f"kept: {kept}, dropped: {strict.reasons}")
    assert kept[0] < kept[1] < kept[2] == len(all_rows(built, "rationalize", Rationale))
    assert strict.reasons["non_monotone"] > 0


async def test_posteriors_of_an_exact_run_use_a_chain_fitted_to_its_own_rollouts(
    built: Run,
) -> None:
    settings = LabelSettings(estimate="posterior")
    smoothed = await relabel(built, settings)
    again = await relabel(built, settings, chain=own_chain(built))
    assert smoothed == again
    by_counts = await relabel(built, LabelSettings())
    assert [row.path_id for row in smoothed.labels] == [row.path_id for row in by_counts.labels]
    assert smoothed.labels != by_counts.labels


async def test_nothing_is_written(built: Run) -> None:
    before = [entry.key for entry in built.store.list("runs/")]
    await relabel(built, LabelSettings(estimate="posterior"), ConsensusSettings())
    assert [entry.key for entry in built.store.list("runs/")] == before


def large_run(store: ObjectStore, problems: int, stop_rule: str) -> Run:
    """A run with eight selected paths of seven steps per problem, out of 32 samples."""
    given = [Problem(f"p{number}", "?", "1") for number in range(problems)]
    spec = Spec({}, input_digest(given), ShardPlan(problems, 64), models={"completer": "c"})
    run = Run.start(store, f"large-{stop_rule}", spec)
    run.store_input(given)
    rng = np.random.default_rng(0)
    for shard, part in spec.plan.cut(given):
        samples, made = [], []
        for problem in part:
            for index in range(32):
                one = path(7, index % 2 == 0, problem_id=problem.problem_id, index=index,
                           selected=index < 8)  # fmt: skip
                samples.append(one)
                if one.selected:
                    mc = np.cumprod(rng.choice([1.0, 0.6], 7, p=[0.8, 0.2]))
                    made += rows([(int(c), 64) for c in rng.binomial(64, mc)], stop_rule, one)
        run.publish("sample", shard, Path, samples)
        run.publish("estimate", shard, StateRollouts, made)
    return run


@pytest.mark.parametrize("estimate", ["counts", "posterior"])
async def test_a_thousand_solutions_are_relabelled_within_a_second(
    built: Run, tmp_path: File, estimate: Any
) -> None:
    run = large_run(open_store(f"file:{tmp_path}"), 125, "exact")
    chain = own_chain(built)
    started = time.process_time()
    found = await relabel(run, LabelSettings(estimate=estimate), chain=chain)
    spent = time.process_time() - started
    print(f"{len(found.labels)} solutions by {estimate} in {spent:.2f} CPU seconds")
    assert len(found.labels) == 1000
    assert spent < 1.0


async def test_labels_that_the_stored_rollouts_cannot_give_are_refused(
    built: Run, tmp_path: File
) -> None:
    run = large_run(open_store(f"file:{tmp_path}"), 2, "first_success")
    with pytest.raises(ConfigurationError, match="stopped by 'first_success'"):
        await relabel(run, LabelSettings())
    with pytest.raises(ConfigurationError, match="not finished"):
        await relabel(run, LabelSettings(estimate="posterior"))
    with pytest.raises(ConfigurationError, match="posterior"):
        await relabel(run, LabelSettings(estimate="posterior"), chain=own_chain(built))
    hard = await relabel(run, replace(LabelSettings(), form="hard", threshold=0))
    assert len(hard.labels) == 16
