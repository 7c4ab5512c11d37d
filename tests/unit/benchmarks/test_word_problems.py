"""Word problems whose plan is known, and what is proved of the steps of a solution."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest

from benchmarks import word_checker, word_world
from benchmarks.word_checker import Proved
from benchmarks.word_world import KINDS, WordProblem
from workflows.injecting.claims import Claim

PLUMS = WordProblem(
    "plums", "two goods", "Max buys 3 mugs at 7 dollars each and a plate for 4 dollars. In all?",
    tuple(map(Fraction, (3, 7, 4))),
    (Claim(Fraction(3), "*", Fraction(7), Fraction(21)),
     Claim(Fraction(21), "+", Fraction(4), Fraction(25))),
    ("The mugs cost $3 * 7 = 21$.", "In all $21 + 4 = 25$.", "The answer is $\\boxed{25}$."),
)  # fmt: skip


def proved(*steps: str) -> Sequence[str]:
    return [verdict.proved.value for verdict in word_checker.check(PLUMS, steps)]


def read(text: str) -> list[tuple[str, bool]]:
    return [(each.text, each.false) for each in word_checker.equations(text)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_leads_from_the_numbers_of_the_text_to_the_answer(kind: str) -> None:
    for place in range(20):
        problem = word_world.problem(kind, place, 5)
        known = set(problem.numbers)
        assert known <= word_checker.stated(problem.text)
        for claim in problem.plan:
            assert claim.exact and {claim.left, claim.right} <= known
            assert claim.result not in known, "a number would stand for two quantities"
            known.add(claim.result)
        assert f"\\boxed{{{problem.answer}}}" in problem.steps[-1]
        assert 1 <= len(problem.plan) <= 4 and len(problem.steps) == len(problem.plan) + 1


def test_the_same_seed_gives_the_same_problems_and_another_seed_others() -> None:
    texts = [[each.text for each in word_world.problems(36, seed)] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert len(set(texts[0])) == 36
    assert {each.kind for each in word_world.problems(12, 1)} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_of_a_plan_but_its_answer_is_proved_right(kind: str) -> None:
    for place in range(20):
        problem = word_world.problem(kind, place, 6)
        *sums, answer = word_checker.check(problem, problem.steps)
        assert {each.proved for each in sums} == {Proved.RIGHT}
        assert answer.proved is Proved.NOTHING


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("So $3 + 4 = 7$ apples.", [("3 + 4 = 7", False)]),
        ("3 apples + 4 apples = 8 apples", [("3 + 4 = 8", True)]),
        ("5 boxes * 6 pencils/box = 30 pencils", [("5 * 6 = 30", False)]),
        ("4 \\times 3 = \\boxed{12}", [("4 * 3 = 12", False)]),
        ("7 minus 3 equals 5", [("7 - 3 = 5", True)]),
        ("Total = 1,200 + 300 = 1,500", [("1200 + 300 = 1500", False)]),
        ("3 + 4 = 7 + 2 = 9", [("3 + 4 = 7 + 2", True), ("7 + 2 = 9", False)]),
        ("(10 + 5) - 3 = 12", [("(10 + 5) - 3 = 12", False)]),
        ("12 = 3 * 4", [("3 * 4 = 12", False)]),
        ("7 / 3 = 2.33", [("7 / 3 = 2.33", False)]),
        ("7 / 3 = 2.34", [("7 / 3 = 2.34", True)]),
    ],
)
def test_equations_are_read_with_units_signs_and_chains(
    text: str, found: list[tuple[str, bool]]
) -> None:
    assert read(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "2x + 3 = 7", "2(3 + 4) = 14", "3 + 4 = 7x", "3 + 4 = 7 * x", "20% * 5 = 1",
        "17 / 5 = 3 with remainder 2", "$\\frac{1}{2} * 4 = 2$", "There are 7 apples and 3 pears.",
        "Day 1 - 5 * 3 = 15", "3 + 4 =", "7 = 7", "5 bags = 5 * 6",
    ],
)  # fmt: skip
def test_what_is_not_read_wholly_is_no_equation(text: str) -> None:
    assert read(text) == []


def test_a_step_is_false_by_an_equation_alone() -> None:
    assert proved("The mugs cost 3 * 7 = 20.") == ["false"]
    assert proved("3 * 7 = 21, and 21 + 4 = 26.") == ["false"]
    assert proved("The mugs cost 20 dollars.") == ["nothing"]


def test_a_true_equation_proves_nothing_unless_it_is_due() -> None:
    assert proved("3 + 7 = 10") == ["nothing"], "the wrong operation"
    assert proved("7 * 4 = 28") == ["nothing"], "the wrong numbers"
    assert proved("21 + 4 = 25") == ["nothing"], "21 is from nowhere"
    assert proved("3 * 7 = 21, so 30 dollars.") == ["nothing"], "30 is from nowhere"


def test_a_step_is_right_in_whatever_way_the_plan_is_written() -> None:
    assert proved("7 * 3 = 21", "4 + 21 = 25") == ["right", "right"]
    assert proved("3 * 7 + 4 = 25") == ["right"]
    assert proved("7 + 7 + 7 = 21 dollars, and 21 + 4 = 25.") == ["right"]
