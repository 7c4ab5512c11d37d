"""Solutions that exist already: in the place of `sample`, with people's labels or without."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demo import check, solutions
from launch.cli.main import run_command
from storage.audit import audit
from storage.errors import ConfigurationError, InputError
from storage.objects.opening import open_store
from storage.rows.kinds import AGREEMENTS, EXAMPLES, GIVEN, LABELS, PATHS, ROLLOUTS
from storage.runs.run import Run
from tests.support.deriving import derive, take_over
from tests.support.golden import check_golden
from tests.support.scripted_build import GIVEN as PROBLEMS
from tests.support.scripted_build import Build, configure, rows
from workflows.runs.driving import standing
from workflows.runs.run import finish
from workflows.runs.starting import create_run, planned

MODEL = {"kind": "scripted", "model": "scripted"}
OURS = {"models": {"completer": MODEL, "rationale": MODEL}}


def written(labelled: bool) -> list[dict[str, Any]]:
    """Four solutions of every problem but the last, as ProcessBench has them."""
    found = []
    for number, problem in enumerate(PROBLEMS[:-1]):
        for sample in range(4):
            rng = random.Random(f"{number}/{sample}")
            made = solutions.write(problem, solutions.Habits(slip=0.3), rng)
            wrong = check.first_error(problem, made.steps)
            row = {"id": f"{number}-{sample}", "problem": problem.text, "steps": list(made.steps)}
            found.append(row | ({"label": -1 if wrong is None else wrong} if labelled else {}))
    return found


def configured(folder: Path, given: list[dict[str, Any]], **change: Any) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "given.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    return configure(folder, **OURS | {"solutions": "given.jsonl"} | change)


async def test_they_are_estimated_labelled_and_exported_as_sampled_ones_are(tmp_path: Path) -> None:
    build = Build(configured(tmp_path, written(labelled=False)))
    assert build.run.spec.stages[:3] == ("problems", "given", "sample")
    assert "policy" not in build.run.spec.models
    await build.work()
    finish(build.run)
    assert standing(build.run).finished
    assert audit(build.run).findings == ()
    paths = rows(build.run, PATHS)
    assert [len(paths), len({path.path_id for path in paths})] == [4 * 13, 4 * 13]
    given = {f"{row.problem_id}#{i}": s for row in rows(build.run, GIVEN)
             for i, s in enumerate(row.solutions)}  # fmt: skip
    answers = {problem.problem_id: problem.answer for problem in PROBLEMS}
    for path in paths:
        assert path.steps == given[path.path_id].steps
        assert path.correct == (path.answer == answers[path.problem_id])
        assert path.selected == (path.valid and path.duplicate_of is None)
    assert {row.path_id for row in rows(build.run, ROLLOUTS)} <= given.keys()
    assert rows(build.run, LABELS)
    assert rows(build.run, EXAMPLES)
    assert build.run.totals("given").drops == {"no_solution": 1}
    check_golden("given solutions", build.run)


async def test_peoples_labels_agree_with_a_judge_without_any_rollout(tmp_path: Path) -> None:
    road = {"road": ["sample", "rationalize", "consensus", "export"],
            "consensus": {"sources": ["people", "judge"]}}  # fmt: skip
    half = [row if i % 2 else {**row, "label": None} for i, row in enumerate(written(True))]
    build = Build(configured(tmp_path, half, stages=road | {"seed": 3}))
    await build.work()
    finish(build.run)
    assert audit(build.run).findings == ()
    judged = rows(build.run, AGREEMENTS)
    silent = {row.path_id for row in judged if row.reason == "people_silent"}
    assert silent == {row.path_id for row in judged if int(row.path_id.rpartition("#")[2]) % 2 == 0}
    kept = [row for row in judged if row.kept]
    labels = {f"{row.problem_id}#{i}": s.label for row in rows(build.run, GIVEN)
              for i, s in enumerate(row.solutions)}  # fmt: skip
    assert kept
    for row in kept:
        wrong = labels[row.path_id]
        assert row.labels == [wrong == -1 or step < wrong for step in range(len(row.labels))]


async def test_peoples_labels_alone_make_a_dataset_without_any_model(tmp_path: Path) -> None:
    road = {"road": ["sample", "consensus", "export"], "consensus": {"sources": ["people"]}}
    build = Build(configured(tmp_path, written(True), stages=road, models={}))
    await build.work()
    finish(build.run)
    selected = [path for path in rows(build.run, PATHS) if path.selected]
    assert len(rows(build.run, EXAMPLES)) == len(selected) > 0


async def test_peoples_labels_are_a_truth_for_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    road = {"road": ["sample", "estimate", "label", "consensus", "export"],
            "consensus": {"sources": ["labels"]}}  # fmt: skip
    models = {"models": {"completer": MODEL}}
    build = Build(configured(tmp_path, written(True), stages=road | {"seed": 3}, **models))
    await build.work()
    store = ["--store", f"file:{tmp_path}/store"]
    assert run_command(["compare", "r", "--json", *store]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["labelled"] > 0
    assert 0 < told["first_error_true"] <= 1


def test_the_same_solutions_are_the_same_run_and_others_are_not(tmp_path: Path) -> None:
    given = written(labelled=True)
    config = configured(tmp_path, given)
    spec = planned(config, None).spec
    assert planned(config, None).spec == spec
    other = planned(configured(tmp_path, given[:-1]), None).spec
    assert other.input_digest != spec.input_digest
    assert "solutions" not in spec.configuration


def test_solutions_and_their_stage_go_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="are taken by stage 'sample': name it"):
        configured(tmp_path, written(True), stages={"road": ["estimate"]})
    road = {"road": ["given", "sample"]}
    none = {"solutions": None, "models": {"policy": MODEL}}
    config = configured(tmp_path, written(True), stages=road, **none)
    with pytest.raises(ConfigurationError, match="`given` just where `solutions` is set"):
        planned(config, None)


def test_a_run_that_was_interrupted_while_it_was_stored_is_stored_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(tmp_path, written(True))
    store, wanted = open_store(config.store), planned(config, None)

    def die(run: Run, *given: object) -> None:
        raise RuntimeError("the driver died")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr(Run, "store_input", die)
        create_run(config, store, wanted)
    begun = Run.open(store, "r")
    with pytest.raises(InputError, match="repeat the command that started it"):
        begun.check_input()
    before = begun.committed("given")
    run = create_run(config, store, wanted)
    run.check_input()
    assert run.committed("given") == before
    assert len(before) == run.spec.plan.shards


async def test_a_derived_run_takes_solutions_and_paths_over(tmp_path: Path) -> None:
    road = {"road": ["sample", "consensus", "export"], "consensus": {"sources": ["people"]}}
    config = configured(tmp_path, written(True), stages=road, models={})
    build = Build(config)
    await build.work()
    finish(build.run)
    rule = replace(config.stages.consensus, sources=("people", "outcome"))
    other = replace(config, run="other", stages=replace(config.stages, consensus=rule))
    run = derive(other, build.run)
    found = await asyncio.to_thread(take_over, run, other)
    assert found is not None
    assert set(found.adopted) == {"problems", "given", "sample"}
    assert set(found.made) == {"consensus", "export"}
    assert audit(run).findings == ()


async def test_a_run_of_given_solutions_grows(tmp_path: Path) -> None:
    road = {"road": ["sample", "consensus", "export"], "consensus": {"sources": ["people"]}}
    config = configured(tmp_path, written(True), stages=road, models={})
    build = Build(replace(config, limit=6))
    await build.work()
    finish(build.run)
    large = replace(config, run="large")
    run = derive(large, build.run)
    assert run.spec.plan.grown_from == (6,)
    found = await asyncio.to_thread(take_over, run, large)
    assert found is not None
    assert [found.adopted[stage] for stage in ("problems", "given", "sample")] == [2, 2, 2]
    assert found.made["sample"] == 2
    finish(run)
    assert audit(run).findings == ()
    fresh = Build(replace(large, store=f"file:{tmp_path}/fresh"))
    await fresh.work()
    for kind in (GIVEN, PATHS, AGREEMENTS, EXAMPLES):
        assert rows(run, kind) == rows(fresh.run, kind)
    # One more solution of an old problem is another input: its shard is made anew.
    more = configured(tmp_path, [written(True)[0] | {"id": "more"}, *written(True)], stages=road)
    other = replace(more, run="other", models=config.models)
    found = await asyncio.to_thread(take_over, derive(other, build.run), other)
    assert found is not None and found.adopted["given"] == 1
