"""Formulas written by a model, for problems that no grammar of ours reads, decided by Z3.

The model is a script that translates faithfully, corrects wrong steps, or forgets a premise. What
finds the latter two is the translation back.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from actors.engines.contract import EngineSettings
from actors.engines.scripted import ScriptedEngine
from actors.sandbox import Limits, SandboxSettings, open_sandbox
from demo.formal import programs
from launch.config import load
from storage.audit import audit
from storage.errors import ConfigurationError, ItemError
from storage.rows.kinds import (
    AGREEMENTS,
    EXAMPLES,
    FORMALIZED,
    LABELS,
    PATHS,
    PROBLEMS,
    TRANSLATIONS,
    ShardRows,
)
from storage.rows.records import Path as SampledPath
from storage.rows.records import Problem, standing
from tests.support.ages import AgesWorld, first_error, puzzles, written
from tests.support.golden import check_reasons
from tests.support.judge_strategies import Built
from tests.support.kits import kit_of
from tests.support.label_rows import path
from workflows.formats.statements import SAY_RULES, SAY_TASK, read_statements, read_words
from workflows.judging.tools import tool_verdicts
from workflows.stages.formalize import FORMALIZE, FormalizeSettings, FormalVerifier
from workflows.stages.own_settings import settings_class
from workflows.stages.translate import TRANSLATE, Translator

CONFIG = Path(__file__).parents[2] / "configs/fover_informal.yaml"
PUZZLES = puzzles(6)
ROAD = ("sample", "translate", "formalize", "consensus", "export")


class Build(Built):
    """The shipped road over scripted models."""

    def __init__(self, folder: Path, fault: str = "") -> None:
        lines = [
            json.dumps({"problem_id": p.problem_id, "problem": p.text, "answer": p.answer})
            for p in PUZZLES
        ]
        (folder / "problems.jsonl").write_text("\n".join(lines) + "\n")
        said = yaml.safe_load(CONFIG.read_text())
        said["models"] = {role: {"kind": "scripted", "model": role} for role in said["models"]}
        (folder / "build.yaml").write_text(
            yaml.safe_dump(said | {"problems": "problems.jsonl", "shard_size": 3})
        )
        self.world = AgesWorld(PUZZLES, fault)
        scripts = {"policy": self.world.policy, "rationale": self.world.translator}
        super().__init__(
            load(folder / "build.yaml", store=f"file:{folder}/store"),
            lambda role: ScriptedEngine(scripts[role], EngineSettings(kind="scripted", model=role)),
        )


def test_the_demos_grammar_reads_none_of_these_problems() -> None:
    for puzzle in PUZZLES:
        with pytest.raises(ItemError, match="not_formal"):
            programs(puzzle.text, written(puzzle, None))


def test_the_labels_of_translated_steps_are_the_truth(tmp_path: Path) -> None:
    build = Build(tmp_path)
    assert audit(build.run).findings == ()
    check_reasons(build.run)
    known = {puzzle.problem_id: puzzle for puzzle in PUZZLES}
    kept = [row for row in build.rows(AGREEMENTS) if row.kept]
    assert {row.path_id for row in kept} == build.paths.keys()
    wrong = 0
    for row in kept:
        path = build.paths[row.path_id]
        assert row.label_first_error == first_error(known[path.problem_id], path.steps)
        wrong += row.label_first_error is not None
    assert 3 < wrong < len(kept)
    assert len(build.rows(EXAMPLES)) == len(kept)


def test_formulas_that_correct_their_steps_are_found_by_translating_them_back(
    tmp_path: Path,
) -> None:
    build = Build(tmp_path, "corrects")
    assert audit(build.run).findings == ()
    known = {puzzle.problem_id: puzzle for puzzle in PUZZLES}
    through = {row.path_id for row in build.rows(FORMALIZED)}
    right = {
        name
        for name, path in build.paths.items()
        if first_error(known[path.problem_id], path.steps) is None
    }
    assert through == right, "all that stands says what its steps say"
    drops = {drop.item for commit in build.run.commits("translate") for drop in commit.drops}
    assert drops == build.paths.keys() - right
    assert len(drops) > 3
    for row in build.rows(TRANSLATIONS):
        assert (row.dropped is None) == (row.path_id in right)
        if row.dropped is not None:
            assert row.dropped.startswith("statement_differs")
            assert len(row.texts) == 3
            steps = build.paths[row.path_id].steps
            assert row.same.index(False) == 1 + (first_error(known[row.problem_id], steps) or 0)


def test_a_premise_that_was_forgotten_is_found_by_translating_the_premises_back(
    tmp_path: Path,
) -> None:
    build = Build(tmp_path, "forgets")
    assert build.rows(FORMALIZED) == []
    made = build.rows(TRANSLATIONS)
    assert made
    assert all(row.same[0] is False for row in made)


def test_no_step_and_no_problem_is_shown_where_formulas_are_told_in_words(tmp_path: Path) -> None:
    build = Build(tmp_path)
    asked = [chat.user for chat in build.world.prompts if chat.user.endswith(SAY_RULES)]
    assert asked
    texts = {p.text for p in PUZZLES} | {s for path in build.paths.values() for s in path.steps}
    for user in asked:
        assert user.startswith(SAY_TASK)
        assert not any(text in user for text in texts)
    answers = [chat.user for chat in build.world.prompts if "[Second Text]" in chat.user]
    assert len(answers) == len(asked)


@pytest.mark.parametrize(
    ("road", "by", "said"),
    [
        (("sample", "formalize", "consensus"), None, "one source of formulas"),
        (ROAD, "demo.formal:programs", "one source of formulas"),
        (("sample", "formalize", "consensus"), "demo.formal", "package.module:function"),
        (("sample", "formalize", "consensus"), "demo.nothing:programs", "package.module:function"),
    ],
)
def test_a_road_with_no_source_of_formulas_or_two_is_refused(
    tmp_path: Path, road: tuple[str, ...], by: str | None, said: str
) -> None:
    asked = settings_class(road)(road=road, formalize=FormalizeSettings(by=by))  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match=said):
        FORMALIZE.check(asked)


GOOD = "### Paragraph 0\n```python\nx = Int('x')\npremises = [x == 1]\n```\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x == 1", "there is no paragraph 0"),
        (GOOD, "there is no paragraph 1"),
        (GOOD + "### Paragraph 1\nx is 1\n", "paragraph 1 has 0 blocks"),
        (GOOD + "### Paragraph 1\n```python\ny = x == 1\n```\n", "paragraph 1: "),
        (
            GOOD.replace("premises", "facts") + "### Paragraph 1\n```python\nx == 1\n```\n",
            "sets no `premises`",
        ),
    ],
)
def test_statements_of_another_form_are_not_guessed_at(text: str, said: str) -> None:
    with pytest.raises(ItemError, match=said):
        read_statements(text, 1)


def test_statements_and_words_are_read_behind_a_thought() -> None:
    text = "Hm.\n</think>\n" + GOOD + "**Paragraph 1:**\n```python\nx > 0\n```\n"
    assert read_statements(text, 1) == ("x = Int('x')\npremises = [x == 1]", ["x > 0"])
    words = "</think>### Paragraph 0\nx is 1.\n\n### Paragraph 1\n\nx is positive.\n"
    assert read_words(words, 1) == ["x is 1.", "x is positive."]


@pytest.mark.container
async def test_the_container_decides_what_the_model_wrote() -> None:
    puzzle = PUZZLES[0]
    solutions = [written(puzzle, slip) for slip in (None, 0, 1)]
    given = ShardRows(
        {
            PROBLEMS: (Problem(puzzle.problem_id, puzzle.text, puzzle.answer),),
            PATHS: tuple(
                _replaced(index, puzzle.problem_id, solution)
                for index, solution in enumerate(solutions)
            ),
        }
    )
    settings = SandboxSettings(slots=2, limits=Limits(wall_s=60, cpu_s=60))
    engine = ScriptedEngine(AgesWorld(PUZZLES).translator, EngineSettings(kind="scripted"))
    kind = settings_class(ROAD)(road=ROAD)
    translator = Translator(kit_of(TRANSLATE, engine, settings=kind, without=(LABELS,)))
    translated = await translator.run(given)
    assert translated.drops == ()
    sandbox = open_sandbox(settings)
    kit = kit_of(FORMALIZE, None, sandbox, settings=kind, without=(LABELS,), limits=settings.limits)
    stage = FormalVerifier(kit)
    try:
        result = await stage.run(given.but({TRANSLATIONS: translated.rows}))
    finally:
        await stage.close()
    assert result.drops == ()
    for row, solution in zip(standing(result.rows), solutions, strict=True):
        verdicts = tool_verdicts(row.executions, len(solution))
        first = verdicts.index(False) if False in verdicts else None
        assert first == first_error(puzzle, solution)


def _replaced(index: int, problem_id: str, solution: list[str]) -> SampledPath:
    made = path(len(solution), True, problem_id=problem_id, index=index)
    return replace(made, steps=solution)
