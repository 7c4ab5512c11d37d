"""Errors by rule: false, first where the world's checker finds them, and followed."""

from __future__ import annotations

import json
import random
import re
from fractions import Fraction
from pathlib import Path

import pytest

from demo import check, world
from demo.problem import OPERATIONS, Problem, Ref, answer_step, equation
from demo.solutions import Habits, write
from workflows.injecting.claims import claims
from workflows.injecting.errors import KINDS, MISPLACED, SKIPPED, Error, drawn
from workflows.settings import injecting

CAREFUL = Habits(check=0.06, swap=0.15)
SEED = 5
DATA = Path(__file__).parents[2] / "data"
FRESH = list(world.sample(120, SEED, "train"))


def errors_of(problem: Problem, steps: tuple[str, ...], kind: str, seed: int) -> list[Error]:
    print(problem.problem_id, "seed", seed)
    return list(drawn(problem.text, steps, [kind], random.Random(seed)))


def reaches_the_answer(error: Error, steps: tuple[str, ...]) -> bool:
    last = (error.wrong, *error.behind)[-1] if error.behind is not None else steps[-1]
    return check.boxed(last) != check.boxed(steps[-1])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Sum: 12 + 5 = 17.", [(12, "+", 5, 17)]),
        ("So 3 × 4 = 12 and then 12 - 2 = 10.", [(3, "*", 4, 12), (12, "-", 2, 10)]),
        ("She pays $5 + $3 = $8 (5 + 3 = 8).", [(5, "+", 3, 8), (5, "+", 3, 8)]),
        ("Rest: 17 mod 5 = 2, gate 1 and 0 = 0.", [(17, "mod", 5, 2), (1, "and", 0, 0)]),
        ("1 + 2 + 3 = 6", []),
        ("2 + 3 = 4 + 1", []),
        ("Ann and Ben have 3 and 4 = 7 coins", []),
        ("0.5 * 8 = 4.0", [(Fraction(1, 2), "*", 8, 4)]),
        ("20% of 5 is 1, v1.2.3 and 1,200 + 1 = 1,201", []),
        (r"\[ 63 \div 5 = 12 \text{ remainder } 3. \]", []),
        ("63 / 5 = 12 r 3, that is 63 ÷ 5 = 12 R3, or 63 / 5 = 12 with 3 coins left.", []),
        ("63 / 5 = 12. The remainder is 3.", []),
        ("60 / 5 = 12, so 12 remain.", [(60, "/", 5, 12)]),
        (
            "17 mod 5 = 2, the remainder; 5 * 12 = 60, remainder 3",
            [(17, "mod", 5, 2), (5, "*", 12, 60)],
        ),
        (r"70{,}000 \div 7 = 10{,}000, 70\,000 / 7 = 10\,000, 70 000 / 7 = 10 000", []),
        (r"0.25 \times 100 = 25\%, 1 / 2 = 50 percent, 1.50 / 2 = 75 cents", []),
        (r"7 / 2 = 3\frac{1}{2}, 7 / 2 = 3 1/2, 5 * 24 = 5!", []),
        (r"2 / 3 = 0.\overline{6}, 2 / 3 = 0.66..., 2 / 3 = 0.66 \ldots", []),
        (r"7 + 8 = 3 \pmod{12}, 7 + 8 = 3 mod 12, 10:30 + 45 = 11:15", []),
        (r"so \(12 \div 7 = 1.7143\).\n7. Next", [(12, "/", 7, Fraction(17143, 10000))]),
    ],
)
def test_only_whole_equations_of_two_operands_are_read(text: str, found: list[object]) -> None:
    assert [(each.left, each.op, each.right, each.result) for each in claims(text)] == found


@pytest.mark.parametrize(
    ("text", "exact", "false"),
    [
        ("12 / 7 = 1.7143", False, False),
        ("12 / 7 = 1.714", False, False),
        ("12 / 7 = 1.7", False, False),
        ("12 / 7 = 1.8", False, True),
        ("12 / 7 = 1.7144", False, True),
        ("12 / 7 = 2", False, True),
        ("1 / 8 = 0.13", False, False),  # a half may go either way
        ("1 / 8 = 0.12", False, False),
        ("1 / 8 = 0.125", True, False),
        ("-2 / 3 = -0.67", False, False),
        ("2 / 3 = -0.67", False, True),
        ("0.5 * 8 = 4.0", True, False),
        ("12 + 5 = 18", False, True),
        ("1 / 0 = 1.5", False, True),
    ],
)
def test_a_claim_that_is_rounded_is_neither_exact_nor_false(
    text: str, exact: bool, false: bool
) -> None:
    (claim,) = claims(text)
    assert (claim.exact, claim.false) == (exact, false)


def test_no_right_answer_of_a_real_model_has_a_claim_that_is_called_false() -> None:
    lines = (DATA / "math_responses.jsonl").read_text(encoding="utf-8").splitlines()
    right = [row["response"] for row in map(json.loads, lines) if row["correct"]]
    read = [claim for response in right for claim in claims(response)]
    assert len(right) > 300 and len(read) > 400
    assert [claim for claim in read if claim.false] == []
    assert any(not claim.exact for claim in read)


def test_no_error_is_put_into_a_rounded_claim() -> None:
    steps = ["12 / 7 = 1.7143, about 1.7143.", "\\boxed{1.7143}"]
    for seed in range(20):
        for kind in injecting.KINDS:
            assert list(drawn("12 over 7", steps, [kind], random.Random(seed))) == []


def test_the_kinds_that_can_be_set_are_those_that_there_are() -> None:
    assert sorted(injecting.KINDS) == sorted([*KINDS, SKIPPED])


@pytest.mark.parametrize("kind", injecting.KINDS)
def test_an_error_is_where_the_worlds_checker_finds_the_first(kind: str) -> None:
    found = 0
    for seed, problem in enumerate(FRESH):
        steps = write(problem, CAREFUL, random.Random(seed)).steps
        for error in errors_of(problem, steps, kind, seed):
            assert error.wrong != error.original
            false = any(claim.false for claim in claims(error.wrong))
            assert false == (kind not in MISPLACED)
            if error.behind is None or not reaches_the_answer(error, steps):
                continue  # such an error is not kept
            whole = [*error.before, error.wrong, *error.behind]
            assert check.first_error(problem, whole) == len(error.before)
            found += 1
    assert found > 50


@pytest.mark.parametrize("kind", KINDS)
def test_the_rest_follows_from_the_wrong_number_as_the_plan_of_the_problem_has_it(
    kind: str,
) -> None:
    followed = 0
    for seed, problem in enumerate(FRESH):
        for error in errors_of(problem, problem.reference_solution, kind, seed):
            if error.behind is not None:
                assert error.behind == _by_plan(problem, error)
                followed += 1
    assert followed > 50


def _by_plan(problem: Problem, error: Error) -> tuple[str, ...]:
    """The rest of a reference solution whose writer believes the wrong result."""
    at = len(error.before)
    result = re.search(r"= (-?\d+)", error.wrong)
    assert result
    believed = [*problem.values[:at], int(result[1])]
    lines = []
    for node in problem.nodes[at + 1 :]:
        left, right = (
            believed[of.node] if isinstance(of, Ref) else of for of in (node.left, node.right)
        )
        believed.append(OPERATIONS[node.op](left, right))
        lines.append(equation(node.lead, left, node.op, right, believed[-1]))
    return (*lines, answer_step("/".join(str(believed[at]) for at in problem.answer_nodes)))


@pytest.mark.parametrize(
    ("problem", "steps"),
    [
        ("Take 17, add 5, then 17.", ["17 + 0 = 17.", "17 + 5 = 22.", "22 + 17 = 39."]),
        ("How much is half of 30 and 2?", ["30 / 2 = 15.", "15 is odd, so 7 pairs.", "7 + 2 = 9."]),
        ("Twice 615, and 4.", ["2 * 615 = 1230.", "From 1,230 on: 1230 + 4 = 1234."]),
        ("A rope of 8 and 7.", ["8 + 7 = 15.", "The 15m rope: 15 - 7 = 8."]),
    ],
    ids=[
        "the right number stands elsewhere too",
        "a number has no equation",
        "a number has a comma",
        "a number has its unit",
    ],
)
def test_what_cannot_be_told_apart_is_not_followed(problem: str, steps: list[str]) -> None:
    first = [
        error
        for error in drawn(problem, [*steps, "\\boxed{1}"], ["off_by_one"], random.Random(SEED))
        if not error.before
    ]
    assert first and all(error.behind is None for error in first)


def test_prose_that_repeats_a_number_follows_too() -> None:
    steps = ["12 + 15 = 27, so he has 27 coins.", "He spends half: 27 - 7 = 20.", "\\boxed{20}"]
    errors = list(drawn("12, 15 and 7", steps, ["digits_swapped"], random.Random(SEED)))
    (error,) = [error for error in errors if not error.before]
    assert error.wrong == "12 + 15 = 72, so he has 72 coins."
    assert error.behind == ("He spends half: 72 - 7 = 65.", "\\boxed{65}")


def test_the_same_seed_draws_the_same_errors_of_many_kinds() -> None:
    kinds: set[str] = set()
    for seed, problem in enumerate(FRESH[:20]):
        steps = problem.reference_solution
        one, two = (
            list(drawn(problem.text, steps, injecting.KINDS, random.Random(seed))) for _ in range(2)
        )
        assert one == two
        kinds |= {error.kind for error in one[:1]}
    assert len(kinds) > 3
