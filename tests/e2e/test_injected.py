"""Right solutions with one error put into them, as a build makes, keeps and shows them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from actors.engines.contract import Chat
from demo import check, world
from demo.problem import equation
from demo.truth import true_first_errors
from launch.cli.main import run_command
from storage.audit import audit
from storage.datasets.dataset import assemble
from storage.errors import ConfigurationError
from storage.rows.kinds import AGREEMENTS, EXAMPLES, INJECTED, LABELS, MISLED, PATHS, RATIONALES
from storage.rows.records import Injection
from storage.runs.layout import dataset_prefix
from storage.runs.run import Run
from tests.support import scripted_build
from tests.support.deriving import derive, digests, take_over
from tests.support.judge_strategies import Build
from tests.support.scripted_build import configure, rows
from tests.support.scripted_world import ScriptedWorld
from workflows.browsing.index import Index
from workflows.browsing.path_page import path_page
from workflows.formats.conversation import steps_of
from workflows.formats.error_prompts import RIGHT_SHOWN
from workflows.looking.run import OpenRun
from workflows.runs.run import finish
from workflows.views.catalogue import VIEWS

MODEL = {"kind": "scripted", "model": "scripted"}


class Misled(ScriptedWorld):
    """A completion model that writes errors too, some of them none, and corrects some of them."""

    def completer(self, chat: Chat, seed: int) -> str:
        """What follows a wrong step, or that step itself."""
        asked = chat.messages[-1].content
        if RIGHT_SHOWN not in asked:
            written = super().completer(chat, seed)
            return f"Correction: {written}" if seed % 6 == 0 else written
        right = asked.split(RIGHT_SHOWN)[1].split("\n")[1]
        (claim,) = check.equations(right)
        return equation("", claim.left, claim.op, claim.right, claim.result + seed % 3)


class Rounding(ScriptedWorld):
    """A completion model whose every error is an equation that holds, rounded."""

    def completer(self, chat: Chat, seed: int) -> str:
        """That equation."""
        return "12 / 7 = 1.7143"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return Build("injected", tmp_path_factory.mktemp("injected"))


def of_references(folder: Path, stage: str, own: dict[str, Any], **change: Any) -> Any:
    stages = {
        "seed": 3, "road": ["sample", stage, "consensus", "export"], stage: own,
        "consensus": {"sources": ["injected"]}, **change.pop("stages", {}),
    }  # fmt: skip
    stages = {name: of for name, of in stages.items() if name != stage or stage in stages["road"]}
    settings = {"models": {}, "solutions": "problems.jsonl", "stages": stages}
    return configure(folder, **settings | change)


async def built_with(config: Any, of: type[ScriptedWorld] = Misled) -> Run:
    build = scripted_build.Build(config)
    build.world = of(scripted_build.GIVEN)
    await build.work()
    finish(build.run)
    assert audit(build.run).findings == ()
    return build.run


def true_error(row: Injection) -> int | None:
    return check.first_error(world.problem(row.problem_id), row.steps)


def test_every_row_has_its_first_error_where_the_worlds_checker_finds_it(built: Build) -> None:
    made = built.rows(INJECTED)
    assert {row.path_id: true_error(row) for row in made} == {
        row.path_id: row.first_error for row in made
    }
    assert {row.first_error is None for row in made} == {True, False}
    truth = true_first_errors(built.run)
    assert all(truth[row.path_id] == row.first_error for row in made)


def test_a_row_says_what_was_done_to_which_step(built: Build) -> None:
    before = {path.path_id: path for path in built.rows(PATHS)}
    for row in built.rows(INJECTED):
        right = before[row.path_id]
        if row.first_error is None:
            assert (row.steps, row.answer, row.correct) == (right.steps, right.answer, True)
            assert (row.kind, row.original, row.by, row.carried_by) == (None,) * 4
            continue
        at = row.first_error
        assert row.kind in built.config.stages.inject.kinds  # type: ignore[attr-defined]
        assert (row.steps[:at], row.original) == (right.steps[:at], right.steps[at])
        assert row.steps[at] != row.original
        assert (row.by, row.carried_by, row.correct, row.tokens) == ("rule", "rule", False, 0)
        assert row.answer != right.answer


def test_what_is_kept_is_exported_with_the_altered_steps_and_their_labels(built: Build) -> None:
    made = {row.path_id: row for row in built.rows(INJECTED)}
    problems = {problem.problem_id: problem.text for problem in built.problems}
    examples = built.rows(EXAMPLES)
    assert {example.first_error is None for example in examples} == {True, False}
    for example in examples:
        row = made[example.path_id]
        assert example.first_error == row.first_error
        assert example.labels == [
            row.first_error is None or step < row.first_error for step in range(len(row.steps))
        ]
        assert steps_of(example, problems[example.problem_id]) == row.steps


def test_kinds_are_counted_and_every_view_that_can_be_made_has_the_rows(built: Build) -> None:
    counts, kept = built.run.totals("inject").counts, built.run.totals("export").rows
    made = built.rows(INJECTED)
    assert counts["untouched"] == sum(row.kind is None for row in made)
    assert sum(n for name, n in counts.items() if name.startswith("kind_")) == sum(
        row.kind is not None for row in made
    )
    for name in ("genprm", "cot", "code", "direct", "discriminative", "orm", "last_step_balanced"):
        prefix = f"{dataset_prefix(built.run.name)}{name}/"
        files = [file.path for file in assemble(built.run, VIEWS[name])]
        data = [built.run.store.get(prefix + file) for file in files if file.startswith("data/")]
        assert sum(pq.read_metadata(BytesIO(part)).num_rows for part in data) > 0, name
    assert len(built.rows(EXAMPLES)) == kept


def test_pages_and_lists_show_the_solution_with_its_error(built: Build) -> None:
    index = Index(built.run, None)
    index.fill()
    wrong = {row.path_id: row for row in built.rows(INJECTED) if row.first_error is not None}
    listed = {row["path_id"]: row for row in index.frame().iter_rows(named=True)}
    for name, row in wrong.items():
        assert listed[name]["correct"] is False
        page = path_page(OpenRun(built.run), name)
        assert page["path"]["steps"] == row.steps
        assert (page["path"]["correct"], page["path"]["answer"]) == (False, row.answer)
        assert page["others"]["inject"][0]["kind"] == row.kind


async def test_the_same_seed_makes_the_same_rows_and_other_kinds_only_make_the_errors_anew(
    tmp_path: Path,
) -> None:
    own = {"trust": "all", "untouched": 0.3}
    one, two = [
        await built_with(of_references(tmp_path / name, "inject", own)) for name in ("one", "two")
    ]
    assert digests(one, "inject") == digests(two, "inject")
    config = of_references(tmp_path / "one", "inject", {**own, "kinds": ["sign_lost"]})
    other = derive(dataclasses.replace(config, run="other"), one)
    inherited = await asyncio.to_thread(take_over, other, dataclasses.replace(config, run="other"))
    assert inherited is not None
    assert digests(other, "sample") == digests(one, "sample")
    assert digests(other, "inject") != digests(one, "inject")
    finish(other)
    assert {row.kind for row in rows(other, INJECTED)} == {None, "sign_lost"}


async def test_what_a_finished_run_kept_as_right_can_be_given_to_another(
    built: Build, tmp_path: Path
) -> None:
    """The lines of docs/strategies.md."""
    made = [
        {"problem_id": row.problem_id, "steps": row.completions, "label": -1}
        for row in OpenRun(built.run).examples("discriminative")
        if all(row.labels)
    ]
    file = tmp_path / "right.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    config = of_references(tmp_path, "inject", {"untouched": 0.0}, solutions=str(file))
    problems = built.config.problems
    run = await built_with(dataclasses.replace(config, problems=problems))
    injected = rows(run, INJECTED)
    assert len(injected) + run.totals("inject").drops.get("no_place", 0) == len(made) > 0
    assert all(true_error(row) == row.first_error for row in injected)


async def test_only_solutions_that_are_said_to_be_right_get_an_error(tmp_path: Path) -> None:
    run = await built_with(of_references(tmp_path, "inject", {}))
    assert run.totals("inject").drops == {"not_known_right": len(scripted_build.GIVEN)}


async def test_a_false_equation_in_a_solution_that_is_said_to_be_right_is_found(
    tmp_path: Path,
) -> None:
    config = of_references(tmp_path, "inject", {"trust": "all"})
    file = tmp_path / "problems.jsonl"
    file.write_text(file.read_text().replace("= ", "= 9"))
    run = await built_with(config)
    assert run.totals("inject").drops == {"false_already": len(scripted_build.GIVEN)}


@pytest.mark.parametrize("by", ["rule", "model"])
async def test_a_model_carries_errors_on_and_what_it_repairs_is_dropped(
    tmp_path: Path, by: str
) -> None:
    own = {"trust": "all", "by": by, "untouched": 0.1}
    run = await built_with(of_references(tmp_path, "mislead", own, models={"completer": MODEL}))
    made, drops = rows(run, MISLED), run.totals("mislead").drops
    assert len(made) + sum(drops.values()) == len(scripted_build.GIVEN)
    assert "repaired" in drops, drops
    assert ("same_step" in drops) == (by == "model")
    wrong = [row for row in made if row.first_error is not None]
    assert wrong
    for row in wrong:
        assert true_error(row) == row.first_error
        assert row.carried_by == "scripted"
        assert row.by == ("rule" if by == "rule" else row.carried_by)
        assert not row.correct
    assert {row.path_id for row in rows(run, AGREEMENTS)} == {row.path_id for row in made}


async def test_a_rounded_equation_is_no_error_of_a_model(tmp_path: Path) -> None:
    own = {"trust": "all", "by": "model", "untouched": 0.0}
    config = of_references(tmp_path, "mislead", own, models={"completer": MODEL})
    run = await built_with(config, Rounding)
    assert run.totals("mislead").drops == {"not_false": len(scripted_build.GIVEN)}


async def test_rollouts_from_a_solution_with_an_error_judge_it_beside_its_construction(
    tmp_path: Path,
) -> None:
    road = ["sample", "inject", "estimate", "label", "rationalize", "consensus", "export"]
    config = of_references(
        tmp_path, "inject", {"trust": "all"}, models={"completer": MODEL, "rationale": MODEL},
        stages={"road": road, "consensus": {"sources": ["injected", "labels", "judge"]}},
    )  # fmt: skip
    run = await built_with(config)
    made = {row.path_id: row for row in rows(run, INJECTED)}
    labels = rows(run, LABELS)
    assert labels and rows(run, RATIONALES)
    assert all(len(row.labels) == len(made[row.path_id].steps) for row in labels)
    assert all(row.first_error == made[row.path_id].first_error for row in rows(run, EXAMPLES))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"road": ["sample", "inject", "mislead", "consensus"]}, "one of them puts the errors"),
        ({"road": ["sample", "estimate", "inject"]}, "right behind 'sample'"),
        ({"inject": {"kinds": []}}, "is empty"),
        ({"road": ["sample", "consensus"]}, "needs inject or mislead"),
    ],
    ids=["both stages", "after rollouts", "no kinds", "no stage that puts errors"],
)
def test_what_contradicts_itself_is_refused_in_a_line(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        config = of_references(
            tmp_path, "inject", {"trust": "all"}, models={"completer": MODEL}, stages=change
        )
        scripted_build.Build(config)


def test_a_road_without_given_solutions_has_nothing_that_is_known_to_be_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = {"road": ["sample", "inject", "consensus"], "consensus": {"sources": ["injected"]}}
    config = scripted_build.CONFIG | {"models": {"policy": MODEL}, "stages": stages}
    (tmp_path / "build.yaml").write_text(json.dumps(config))
    assert run_command(["build", str(tmp_path / "build.yaml")]) == 2
    assert "'inject' needs 'given' before it" in capsys.readouterr().err
