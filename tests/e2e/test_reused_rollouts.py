"""Two runs: the rollouts that the first one keeps fill quotas of the second one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch.cli.main import run_command
from storage.audit import audit
from storage.datasets.dataset import CARD
from storage.errors import ConfigurationError
from storage.rows.kinds import EXAMPLES, PATHS, REUSED, ROLLOUTS
from tests.support.deriving import derive, take_over
from tests.support.scripted_build import CONFIG, GIVEN, Build, configure, rows
from workflows.builds.configuration import BuildConfig
from workflows.looking.noise import noise
from workflows.runs.driving import standing
from workflows.runs.run import finish
from workflows.runs.starting import planned

ROAD = {"road": ["sample", "estimate", "label", "consensus", "export"],
        "consensus": {"sources": ["labels"]}}  # fmt: skip
MODELS = {role: {"kind": "scripted", "model": role} for role in ("policy", "completer")}


def configured(folder: Path, run: str, seed: int, **change: Any) -> BuildConfig:
    stages = CONFIG["stages"] | ROAD | {"seed": seed} | change.pop("stages", {})
    stages["estimate"] = CONFIG["stages"]["estimate"] | {"keep_texts": 2}
    return configure(folder, run=run, stages=stages, **{"models": MODELS} | change)


async def handed_out(folder: Path) -> Path:
    """The first run, and what it hands out."""
    build = Build(configured(folder, "first", 3))
    await build.work()
    finish(build.run)
    out = folder / "out"
    command = ["download", "first", str(out), "--view", "rollouts", "--format", "jsonl"]
    assert run_command([*command, "--store", f"file:{folder}/store"]) == 0
    (file,) = (out / "jsonl").glob("*.jsonl")
    assert "made by Stepmill" in (out / "README.md").read_text()
    return file


def reusing(folder: Path, file: Path, seed: int = 4, **change: Any) -> BuildConfig:
    stages = {"sample": CONFIG["stages"]["sample"] | {"reuse_rollouts": True}}
    return configured(folder, "second", seed, solutions=str(file), **{"stages": stages} | change)


async def test_the_second_run_pays_for_what_is_missing_and_says_whose_each_path_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = reusing(tmp_path, await handed_out(tmp_path))
    build = Build(config)
    assert build.run.spec.stages[:3] == ("problems", "reused", "sample")
    await build.work()
    finish(build.run)
    assert standing(build.run).finished
    assert audit(build.run).findings == ()
    paths = rows(build.run, PATHS)
    mine = [path for path in paths if path.origin is None]
    took = [path for path in paths if path.origin is not None and path.selected]
    models, names = build.run.spec.models, {path.path_id for path in took}
    wrote = {(row.path_id in names, row.policy) for row in rows(build.run, EXAMPLES)}
    assert wrote == {(True, models["completer"])}
    handed = {row.problem_id: row for row in rows(build.run, REUSED)}
    assert handed.keys() == {problem.problem_id for problem in GIVEN}, "also those without any"
    for path in took:
        assert path.origin == handed[path.problem_id].origins[path.index]
        assert (path.origin.run, path.origin.seeds, path.round) == ("first", [3], -1)
    assert {row.path_id for row in rows(build.run, ROLLOUTS)} >= {path.path_id for path in took}

    alone = Build(configured(tmp_path, "alone", 4))
    await alone.work()
    finish(alone.run)
    seeds = {(path.problem_id, path.seed): path.text for path in rows(alone.run, PATHS)}
    assert {(path.problem_id, path.seed): path.text for path in mine}.items() <= seeds.items()
    totals, without = build.run.totals("sample"), alone.run.totals("sample")
    assert totals.counts["sampled"] == len(mine) < without.counts["sampled"]
    assert totals.counts["tokens"] < without.counts["tokens"]
    assert totals.counts["reused"] == len(paths) - len(mine)

    dataset = tmp_path / "dataset"
    store = ["--store", f"file:{tmp_path}/store"]
    assert run_command(["download", "second", str(dataset), *store]) == 0
    card = (dataset / CARD).read_text()
    assert "Some solutions are no samples of the policy" in card
    assert "| reused or sampled |" in card
    noise(build.run)
    capsys.readouterr()
    assert run_command(["status", "second", *store]) == 0
    assert "reused" in capsys.readouterr().out


async def test_what_would_draw_the_chosen_again_is_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    file = await handed_out(tmp_path)
    with pytest.raises(
        ConfigurationError, match=r"`stages\.seed: 3` is a seed of run 'first'"
    ) as e:
        planned(reusing(tmp_path, file, seed=3), None)
    assert "set another" in str(e.value)
    assert "\n" not in str(e.value)
    planned(reusing(tmp_path, file), None)


async def test_a_policy_a_file_and_the_right_stage_are_asked_for_in_one_line(
    tmp_path: Path,
) -> None:
    file = await handed_out(tmp_path)
    with pytest.raises(ConfigurationError, match=r"`models\.policy` is missing: add it"):
        reusing(tmp_path, file, models={"completer": MODELS["completer"]})
    config = reusing(tmp_path, file)
    nothing = replace(config, solutions=None)
    with pytest.raises(ConfigurationError, match="name there what `stepmill download"):
        planned(nothing, None)
    road = ("given", *config.stages.road[1:])
    with pytest.raises(ConfigurationError, match="`reused` in its place"):
        planned(replace(config, stages=replace(config.stages, road=road)), None)


async def test_a_derived_run_takes_the_reused_and_the_sampled_over(tmp_path: Path) -> None:
    config = reusing(tmp_path, await handed_out(tmp_path))
    build = Build(config)
    await build.work()
    finish(build.run)
    label = replace(config.stages.label, threshold=0.5)
    other = replace(config, run="third", stages=replace(config.stages, label=label))
    run = derive(other, build.run)
    found = await asyncio.to_thread(take_over, run, other)
    assert found is not None
    assert set(found.adopted) == {"problems", "reused", "sample", "estimate"}
    assert audit(run).findings == ()


async def test_what_a_third_run_may_not_draw_again_is_every_seed_that_chose_its_paths(
    tmp_path: Path,
) -> None:
    build = Build(reusing(tmp_path, await handed_out(tmp_path)))
    await build.work()
    finish(build.run)
    store = ["--store", f"file:{tmp_path}/store", "--format", "jsonl"]
    assert run_command(["download", "second", f"{tmp_path}/2", "--view", "rollouts", *store]) == 0
    (file,) = (tmp_path / "2/jsonl").glob("*.jsonl")
    for seed in (3, 4):
        with pytest.raises(
            ConfigurationError, match=f"`stages.seed: {seed}` is a seed of run 'sec"
        ):
            planned(reusing(tmp_path, file, seed=seed), None)
    planned(reusing(tmp_path, file, seed=5), None)
