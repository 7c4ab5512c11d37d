"""The world: regenerable problems, true answers, disjoint splits, a file that can be read."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from demo import check, world
from demo.families import FAMILIES, LEVELS
from demo.problem import is_exact
from workflows.formats import steps

SEED = 20


def test_a_problem_follows_from_its_id_alone() -> None:
    for found in world.sample(100, SEED, "train"):
        assert world.problem(found.problem_id) == found


def test_every_family_has_every_level() -> None:
    kinds = {(found.family, found.level) for found in world.sample(100, SEED, "heldout")}
    assert kinds == {(family, level) for family in FAMILIES for level in LEVELS}


def test_reference_solutions_are_right_and_of_three_to_seven_steps() -> None:
    for found in world.sample(1000, SEED, "train"):
        solution = found.reference_solution
        assert 3 <= len(solution) <= 7, found
        assert check.first_error(found, solution) is None, found
        assert check.boxed(solution[-1]) == Fraction(found.answer), found


def test_every_operation_of_a_plan_is_exact_and_small() -> None:
    for found in world.sample(1000, SEED, "train"):
        for node, value in zip(found.nodes, found.values, strict=True):
            assert is_exact(found.value(node.left), node.op, found.value(node.right), value)
            assert 0 <= value < 1000


def test_higher_levels_take_more_steps() -> None:
    found = list(world.sample(1000, SEED, "train"))
    lengths = [[len(each.nodes) for each in found if each.level == level] for level in LEVELS]
    means = [sum(each) / len(each) for each in lengths]
    assert means == sorted(means)


def test_no_text_is_in_both_splits() -> None:
    train = {found.text for found in world.sample(2000, SEED, "train")}
    heldout = {found.text for found in world.sample(500, SEED, "heldout")}
    assert len(train) == 2000
    assert not train & heldout


@pytest.mark.parametrize(
    "problem_id", ["", "chain", "chain/6/000001", "chess/1/000001", "chain/1/1", "chain/1/-00001"]
)
def test_an_id_of_no_problem_is_refused(problem_id: str) -> None:
    with pytest.raises(ValueError, match="not a problem"):
        world.problem(problem_id)


def test_the_command_writes_a_problem_file(tmp_path: Path) -> None:
    out = tmp_path / "new" / "problems.jsonl"
    arguments = ["--out", str(out), "--problems", "30", "--seed", "3", "--difficulty", "2", "4"]
    assert world.main(arguments) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len({row["problem_id"] for row in rows}) == 30
    assert {row["level"] for row in rows} == {2, 4}
    for row in rows:
        found = world.problem(row["problem_id"])
        assert (row["problem"], row["answer"]) == (found.text, found.answer)
        assert steps.split(row["reference_solution"]) == found.reference_solution


def test_more_problems_than_there_are_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "problems.jsonl"
    arguments = ["--out", str(out), "--problems", "100000", "--family", "logic", "--difficulty"]
    assert world.main([*arguments, "1"]) == 2
    assert "different problems" in capsys.readouterr().err
    assert not out.exists()
