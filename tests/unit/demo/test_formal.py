"""Steps as formulas: what Z3 says of circuits is what the checker says, up to the first error."""

from __future__ import annotations

import random

import pytest

from demo import check, world
from demo.formal import programs
from demo.solutions import Habits, write
from storage.errors import ItemError
from tests.support.solver import decided

SEED = 5
SLOPPY = Habits(slip=0.25)


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_z3_finds_the_checkers_first_error(level: int) -> None:
    rng = random.Random(SEED)
    seen = set()
    for problem in world.sample(30, SEED, "train", levels=(level,), families=("logic",)):
        steps = write(problem, SLOPPY, rng).steps
        verdicts = decided(problem.text, steps)
        first = verdicts.index(False) if False in verdicts else None
        assert first == check.first_error(problem, steps), (SEED, problem.text, steps)
        seen.add(first)
    assert len(seen) > 1


CIRCUIT = "Let P = 1, Q = 0. Let A = P and Q. Let B = A or P. How many of A, B are 1?"
CLAIMS = [
    ("A: 1 and 0 = 0.", True),
    ("A: 0 and 1 = 0.", True),
    ("A: 1 and 1 = 0.", False),  # the result is right, its operands are not
    ("A: 1 and 0 = 1.", False),
    ("A: 1 or 0 = 0.", False),  # another operation
    ("B: 0 or 1 = 1.", True),
    ("Count: 0 + 1 = 1.", True),
    ("Count: 1 + 1 = 2.", False),
    ("Count: 0 - 1 = -1.", False),  # another operation
    ("The answer is \\boxed{1}.", True),
    ("The answer is \\boxed{2}.", False),
]


@pytest.mark.parametrize(("step", "holds"), CLAIMS)
def test_a_claim_holds_where_the_premises_entail_it(step: str, holds: bool) -> None:
    assert decided(CIRCUIT, (step,)) == [holds]


@pytest.mark.parametrize(
    ("problem", "step"),
    [
        ("What is 1 + 1?", "It is 2."),
        (CIRCUIT, "Obviously."),
        (CIRCUIT, "D: 1 and 0 = 0."),
        ("Let P = 1. Let A = P and Q. How many of A are 1?", "A: 1 and 1 = 1."),
    ],
)
def test_what_is_no_formula_is_said_to_be_none(problem: str, step: str) -> None:
    with pytest.raises(ItemError, match="not_formal"):
        programs(problem, (step,))
