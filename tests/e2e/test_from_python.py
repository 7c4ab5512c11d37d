"""A finished run as Python users read it, and the example script from end to end."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

import stepmill
from storage.errors import ConfigurationError, NothingFound
from tests.support.scripted_build import CONFIG, GIVEN, Build, configure
from tests.support.scripted_world import write_problems
from workflows.runs.run import finish

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> stepmill.OpenRun:
    build = Build(configure(tmp_path_factory.mktemp("python")))
    asyncio.run(build.work())
    finish(build.run)
    return stepmill.open_run("r", build.config.store)


def test_each_stage_is_a_table_of_the_rows_that_its_commits_count(opened: stepmill.OpenRun) -> None:
    rows = {stage.stage: stage.rows for stage in opened.status().stages}
    assert {
        stage: opened.scan(stage).select(pl.len()).collect().item() for stage in opened.stages
    } == rows


def test_the_drops_are_a_table_too(opened: stepmill.OpenRun) -> None:
    found = opened.drops().collect()
    for stage in opened.status().stages:
        assert Counter(found.filter(stage=stage.stage)["reason"].to_list()) == stage.drops
    assert opened.drops("consensus").collect().height == sum(
        opened.status().stages[opened.stages.index("consensus")].drops.values()
    )


def test_every_solution_is_an_example_or_has_a_reason(opened: stepmill.OpenRun) -> None:
    examples = {example.path_id for example in opened.examples()}
    fates = {name: opened.why(name) for name in opened.scan("sample").collect()["path_id"]}
    assert {name for name, why in fates.items() if why.finished} == examples
    assert all((why.reason is None) == why.finished for why in fates.values())
    dropped = Counter(why.reason for why in fates.values() if why.stage != "sample")
    assert dropped - Counter({None: len(examples)}) == Counter(
        opened.drops().filter(pl.col("item").str.contains("#")).collect()["reason"].to_list()
    )


def test_why_says_it_in_a_line_with_the_rows_beside_it(opened: stepmill.OpenRun) -> None:
    kept = next(opened.examples())
    why = opened.why(kept.path_id)
    assert str(why) == f"{kept.path_id} came through every stage"
    assert why.rows["export"] == (kept,)
    assert {row.path_id for row in why.rows["estimate"]} == {kept.path_id}
    lost = opened.drops("consensus").collect().row(0, named=True)
    assert str(opened.why(lost["item"])) == f"{lost['item']} ended at consensus: {lost['reason']}"


def test_what_is_not_there_is_said(opened: stepmill.OpenRun) -> None:
    problem = GIVEN[0].problem_id
    for name in ("nowhere#0", f"{problem}#9999"):
        with pytest.raises(NothingFound, match="has no"):
            opened.why(name)
    with pytest.raises(ConfigurationError, match="no stage 'judge'"):
        opened.scan("judge")
    with pytest.raises(ConfigurationError, match="view 'cott' is not one of"):
        opened.examples("cott")
    with pytest.raises(ConfigurationError, match="made of stage 'retry'"):
        opened.examples("intervention")
    with pytest.raises(NothingFound, match="no run 'absent'"):
        stepmill.open_run("absent", opened.run.store.url)


def build_file(folder: Path) -> Path:
    """A build that worker processes can do without a sandbox."""
    write_problems(GIVEN, folder / "problems.jsonl")
    build = CONFIG | {
        "stages": CONFIG["stages"] | {"rationalize": {"execute": False}},
        "models": {
            role: {"kind": "scripted", "model": f"tests.scripted_models:{role}"}
            for role in ("policy", "completer", "rationale")
        },
    }
    (folder / "build.yaml").write_text(json.dumps(build))
    return folder / "build.yaml"


def python(folder: Path, *script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *script],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
    )


NOTEBOOK = """
import asyncio, sys, stepmill

async def main():
    config = stepmill.load(sys.argv[1], store=sys.argv[2], limit=4)
    stepmill.build(config)
    assert stepmill.open_run("r", sys.argv[2]).status().finished

asyncio.run(main())
"""


def test_real_workers_build_beside_a_running_loop_without_a_word(tmp_path: Path) -> None:
    file = build_file(tmp_path)
    done = python(tmp_path, "-c", NOTEBOOK, str(file), f"file:{tmp_path}/store")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_example_script_goes_from_problems_to_a_folder(tmp_path: Path) -> None:
    file, script = build_file(tmp_path), str(ROOT / "examples/from_python.py")
    done = python(tmp_path, script, str(file), f"file:{tmp_path}/store", f"{tmp_path}/dataset")
    assert (done.returncode, done.stderr) == (0, "")
    made = len(list((tmp_path / "dataset/data").iterdir()))
    assert made > 0
    assert f"rows lie in {tmp_path}/dataset" in done.stdout
