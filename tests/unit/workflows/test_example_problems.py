"""The problems that come along as an example."""

from pathlib import Path

from workflows.answers import check_reference
from workflows.ingest import read_problems

FILE = Path(__file__).parents[3] / "examples/math_problems.jsonl"


def test_a_hundred_problems_of_all_subjects_are_a_builds_input() -> None:
    problems = list(read_problems(FILE))
    assert len(problems) == len({problem.problem for problem in problems}) == 100
    assert {problem.level for problem in problems} == {"Level 1", "Level 2", "Level 3"}
    assert len({problem.subject for problem in problems}) == 7
    for problem in problems:
        assert problem.problem_id.startswith("train/")
        check_reference(problem.answer)
