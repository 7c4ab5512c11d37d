"""The checker: right in any valid order and wording, wrong for every kind of mistake."""

import random

import pytest

from demo import check, solutions, world
from demo.problem import Node, Problem, Ref

CHAIN = Problem(
    problem_id="chain/1/000000",
    family="chain",
    level=1,
    text="Start with 17. Add 25. Multiply by 3. What is the result?",
    nodes=(Node("", 17, "+", 25), Node("", Ref(0), "*", 3)),
    values=(42, 126),
    answer_nodes=(1,),
)
FRACTION = Problem(
    problem_id="fractions/3/000000",
    family="fractions",
    level=3,
    text="Write 1/2 + 2/3 as one fraction.",
    nodes=(
        Node("Bottom: ", 2, "*", 3),
        Node("Left: ", 1, "*", 3),
        Node("Right: ", 2, "*", 2),
        Node("Top: ", Ref(1), "+", Ref(2)),
    ),
    values=(6, 3, 4, 7),
    answer_nodes=(3, 0),
)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(("17 + 25 = 42.", "42 * 3 = 126.", "\\boxed{126}"), id="reference"),
        pytest.param(("25+17=42", "So 3 * 42 = 126!", "\\boxed{ 126 }"), id="swapped, other words"),
        pytest.param(("17 + 25 = 42, then 42 * 3 = 126.", "\\boxed{126}"), id="two in one step"),
        pytest.param(
            ("17 + 25 = 42.", "Check: 42 - 25 = 17.", "42 * 3 = 126.", "\\boxed{126}"),
            id="a step undone to check it",
        ),
        pytest.param(("17 + 25 = 42.", "17 + 25 = 42."), id="repeated, and unfinished"),
    ],
)
def test_valid_solutions_have_no_error(steps: tuple[str, ...]) -> None:
    assert check.first_error(CHAIN, steps) is None


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        pytest.param(("17 + 25 = 43.", "43 * 3 = 129."), 0, id="arithmetic"),
        pytest.param(("17 + 25 = 42.", "42 + 3 = 45."), 1, id="wrong operation"),
        pytest.param(("17 + 26 = 43.",), 0, id="a number that is not the problem's"),
        pytest.param(("17 + 25 = 42.", "25 * 3 = 75."), 1, id="the wrong number of the problem"),
        pytest.param(("42 * 3 = 126.",), 0, id="a result that no step has found yet"),
        pytest.param(("17 + 25 = 42.", "\\boxed{126}"), 1, id="an answer out of nowhere"),
        pytest.param(("17 + 25 = 42.", "42 * 3 = 126.", "\\boxed{42}"), 2, id="wrong answer"),
        pytest.param(("Let us add.",), 0, id="nothing to read"),
        pytest.param(("17 + 25 = 42.", ""), 1, id="an empty step"),
        pytest.param(("17 + 25 = 42 and 5 are left.",), 0, id="a number outside of any claim"),
        pytest.param(("17 + 25 + 0 = 42.",), 0, id="an expression it cannot read"),
        pytest.param(("17 + 25 = 42.5",), 0, id="a decimal"),
        pytest.param(("17 + 25 = 42, so 42 * 3 = 125.",), 0, id="one right and one wrong claim"),
        pytest.param(("42 - 25 = 17.",), 0, id="undoing what was never done"),
    ],
)
def test_the_first_wrong_step_is_found(steps: tuple[str, ...], error: int) -> None:
    assert check.first_error(CHAIN, steps) == error


def test_independent_operations_may_come_in_any_order() -> None:
    steps = ("2 * 2 = 4.", "1 * 3 = 3.", "3 + 4 = 7.", "2 * 3 = 6.", "\\boxed{7/6}")
    assert check.first_error(FRACTION, steps) is None
    assert check.first_error(FRACTION, (*steps[:3], "\\boxed{7/6}")) == 3


def test_an_inexact_division_is_wrong() -> None:
    mean = Problem("mean/1/0", "mean", 1, "", (Node("", 7, "/", 2),), (3,), (0,))
    assert check.first_error(mean, ("7 / 2 = 3.",)) == 0


def test_writers_slip_where_they_say_they_do() -> None:
    # An accidental second way to the right number is all that may differ.
    rng = random.Random(7)
    differing = 0
    problems = list(world.sample(600, 7, "train"))
    for found in problems:
        written = solutions.write(found, solutions.Habits(slip=0.25, swap=0.3, check=0.1), rng)
        slipped = next((i for i, slip in enumerate(written.slips) if slip), None)
        differing += check.first_error(found, written.steps) != slipped
    assert differing <= 0.02 * len(problems)


def test_careful_writers_are_never_wrong() -> None:
    rng = random.Random(8)
    for found in world.sample(600, 8, "train"):
        written = solutions.write(found, solutions.Habits(swap=0.5, check=0.3), rng)
        assert check.first_error(found, written.steps) is None


def test_a_repair_computes_the_slipped_step_again() -> None:
    rng = random.Random(9)
    habits = solutions.Habits(slip=1.0, repair=1.0)
    written = solutions.write(CHAIN, habits, rng)
    assert written.steps[1] == "Correction: 17 + 25 = 42."
    assert written.steps[-1] == "The answer is \\boxed{126}."


def test_a_corrupted_solution_has_a_wrong_step() -> None:
    rng = random.Random(10)
    wrong = [check.first_error(CHAIN, solutions.corrupt(CHAIN, rng).steps) for _ in range(50)]
    assert None not in wrong
