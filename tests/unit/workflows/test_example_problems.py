"""The problems that come along as an example."""

from pathlib import Path

from launch.config import load
from workflows.answers import check_reference
from workflows.formats.worked_examples import check_examples
from workflows.inputs.problems import read_problems

ROOT = Path(__file__).parents[3]
FILE = ROOT / "examples/math_problems.jsonl"
EASY = ROOT / "examples/easy_problems.jsonl"


def test_a_hundred_problems_of_all_subjects_are_a_builds_input() -> None:
    problems = list(read_problems(FILE))
    assert len(problems) == len({problem.problem for problem in problems}) == 100
    assert {problem.level for problem in problems} == {"Level 1", "Level 2", "Level 3"}
    assert len({problem.subject for problem in problems}) == 7
    for problem in problems:
        assert problem.problem_id.startswith("train/")
        check_reference(problem.answer)


def test_very_easy_ones_are_a_builds_input_too() -> None:
    problems = list(read_problems(EASY))
    assert len({problem.problem for problem in problems}) == len(problems)
    for problem in problems:
        assert problem.problem_id.startswith("easy/")
        check_reference(problem.answer)


def test_a_small_model_is_shown_examples_that_are_none_of_them() -> None:
    stages = load(ROOT / "configs/smollm2.yaml").stages
    assert stages.sample.examples
    assert stages.rationalize.examples
    check_examples(stages, [*read_problems(FILE), *read_problems(EASY)])
