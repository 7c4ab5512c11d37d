"""Word problems whose plan is known, and what is proved of the steps of a solution."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path as File

import pytest

from actors.engines.contract import Sampling
from actors.grading.pool import Grader
from benchmarks import real_model, word_checker, word_judges, word_labels, word_problems, word_world
from benchmarks.word_checker import Proved
from benchmarks.word_labels import Figures
from benchmarks.word_world import KINDS, WordProblem
from launch.config import load
from storage.rows.kinds import PATHS, PROBLEMS, ROLLOUTS, ShardRows
from storage.rows.records import AnswerCount, StateRollouts
from workflows.answers.grading import grader
from workflows.formats import steps as formats
from workflows.formats.solving import opened_chat
from workflows.injecting.claims import Claim
from workflows.settings import AnswerSettings, SampleSettings

PLUMS = WordProblem(
    "plums", "two goods", "Max buys 3 mugs at 7 dollars each and a plate for 4 dollars. In all?",
    tuple(map(Fraction, (3, 7, 4))),
    (Claim(Fraction(3), "*", Fraction(7), Fraction(21)),
     Claim(Fraction(21), "+", Fraction(4), Fraction(25))),
    ("The mugs cost $3 * 7 = 21$.", "In all $21 + 4 = 25$.", "The answer is $\\boxed{25}$."),
)  # fmt: skip


def said(*steps: str) -> Sequence[str]:
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
        ("12 - 15 = -3", [("12 - 15 = -3", False)]),
        ("32 + -5 = 28", [("32 + -5 = 28", True)]),
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
    assert said("The mugs cost 3 * 7 = 20.") == ["false"]
    assert said("3 * 7 = 21, and 21 + 4 = 26.") == ["false"]
    assert said("The mugs cost 20 dollars.") == ["nothing"]


def test_a_true_equation_proves_nothing_unless_it_is_due() -> None:
    assert said("3 + 7 = 10") == ["nothing"], "the wrong operation"
    assert said("7 * 4 = 28") == ["nothing"], "the wrong numbers"
    assert said("21 + 4 = 25") == ["nothing"], "21 is from nowhere"
    assert said("3 * 7 = 21, so 30 dollars.") == ["nothing"], "30 is from nowhere"


def test_a_step_is_right_in_whatever_way_the_plan_is_written() -> None:
    assert said("7 * 3 = 21", "4 + 21 = 25") == ["right", "right"]
    assert said("3 * 7 + 4 = 25") == ["right"]
    assert said("7 + 7 + 7 = 21 dollars, and 21 + 4 = 25.") == ["right"]


READ_BY_EYE = File(__file__).parents[2] / "data/word_steps.jsonl"
GIVEN = [word_world.problem("change", place, 3) for place in range(4)]
DEAD = GIVEN[3].problem_id


def solutions() -> list[tuple[WordProblem, int | None, Sequence[str]]]:
    return [(each, *one) for each in GIVEN for one in word_problems.slipped(each)]


def test_the_checkers_error_on_a_hundred_steps_read_by_eye() -> None:
    found = Counter[tuple[str, str]]()
    for row in map(json.loads, READ_BY_EYE.read_text(encoding="utf-8").splitlines()):
        problem = word_problems.problem_of(row["problem_id"])
        *_, verdict = word_checker.check(problem, [*row["before"], row["step"]])
        assert verdict.proved.value == row["checker"], row
        found[row["checker"], row["reader"]] += 1
    assert found == {
        ("false", "false"): 38,
        ("right", "right"): 12,
        ("right", "wrong"): 5,  # due and exact, but "so we divide", or "the apples cost"
        ("nothing", "wrong"): 39,
        ("nothing", "right"): 5,
        ("nothing", "false"): 1,  # "6 + 12 = 18, which equals 20"
    }


def stored() -> ShardRows:
    """Given solutions, of which a rollout is right half the time until a slip, and then never.

    Of the last problem no rollout is right.
    """
    given, rollouts = word_problems.as_paths(GIVEN), []
    for path, (problem, first, steps) in zip(given[PATHS], solutions(), strict=True):
        for state in range(len(steps)):
            alive = problem.problem_id != DEAD and (first is None or state <= first)
            c = 8 if alive else 0
            answers = [AnswerCount(problem.answer, c, True), AnswerCount(None, 16 - c, False)]
            rollouts.append(
                StateRollouts(path.path_id, problem.problem_id, state, 0, 16, c,
                              [each for each in answers if each.count], 0, "exact", False, "m", 0,
                              160)
            )  # fmt: skip
    return given.but({ROLLOUTS: rollouts})


@pytest.fixture
def graded_by() -> Iterator[Grader]:
    made = grader(AnswerSettings())
    yield made
    asyncio.run(made.close())


def test_a_slip_makes_its_step_false_and_none_before_it() -> None:
    slips = 0
    for problem in word_world.problems(24, 7):
        for first, steps in word_problems.slipped(problem):
            verdicts = [each.proved for each in word_checker.check(problem, steps)]
            assert Proved.FALSE not in verdicts[:first]
            slips += first is not None and verdicts[first] is Proved.FALSE
    assert slips == 40


async def test_every_stored_rollout_is_dealt_once_in_an_order_by_seed() -> None:
    rows = stored()
    orders = []
    for seed in (0, 1):
        engine = word_labels.Dealt(rows, seed)
        problem, path = rows[PROBLEMS][0], rows[PATHS][0]
        opening = formats.openings(path.text, path.steps)[1]
        chat = opened_chat(SampleSettings().system, problem, opening)
        asked = [Sampling(n=n, max_tokens=9, temperature=0.6, seed=5) for n in (6, 10)]
        texts = [done.text for each in asked
                 for done in (await engine.generate(chat, each)).completions]  # fmt: skip
        assert texts.count(f"\\boxed{{{problem.answer}}}") == 8 and len(texts) == 16
        orders.append(texts)
    assert orders[0] != orders[1]


@pytest.mark.parametrize("strategy", word_labels.STRATEGIES, ids=lambda each: each.name)
async def test_strategies_find_the_slips_and_nothing_else_where_rollouts_are_clear(
    strategy: word_labels.Method, graded_by: Grader
) -> None:
    rows = stored()
    proved, figures = word_problems.proved(rows), Figures()
    for name, row in (await word_labels.labelled(strategy, rows, 0, graded_by)).items():
        figures.add(name, row.labels, proved[name])
    assert figures.first[True] > 0 and figures.first[False] == 0
    if strategy.name != "math_shepherd_soft":  # MC 0.5 of 8 dealt ones is under its threshold
        assert figures.inner[True] == 0
    assert not any(DEAD in name for name in figures.paths), "no rollout is right from its start"


def test_false_alarms_are_of_steps_proved_right_before_any_false_one() -> None:
    figures = Figures()
    verdicts = word_checker.check(PLUMS, ["3 * 7 = 21", "21 + 4 = 26", "3 * 7 = 21", "Well."])
    figures.add("a", [False, True, False, False], verdicts)
    assert figures.right == {True: 1} and figures.inner == {True: 1}
    assert figures.first == {False: 1} == figures.false
    figures.add("b", [True], word_checker.check(PLUMS, ["3 * 7 = 20", "20 + 4 = 25"]))
    assert figures.false == {False: 2}, "a step without a label is in no figure"


@pytest.mark.parametrize("judges", word_judges.JUDGES, ids=lambda each: each.name)
async def test_a_reply_that_is_read_says_what_its_judge_meant(
    judges: word_judges.Judges, graded_by: Grader
) -> None:
    rows = stored()
    first = word_problems.first_errors(rows)
    hard = next(each for each in word_labels.STRATEGIES if each.name == "math_shepherd_hard")
    labels = await word_labels.labelled(hard, rows, 0, graded_by)
    kept, lost = await word_judges.judged(judges, rows, first, labels, 0)
    assert kept and len(kept) + lost.total() == len(labels if judges.labelled else first)
    for name, given in kept.items():
        assert list(given) == word_judges.judge_labels(first[name], len(given))


def test_no_manner_of_a_reply_is_misread_and_those_as_asked_are_read() -> None:
    found = word_judges.by_manner((2, 3), 0)
    assert not any("misread" in fate for fates in found.values() for fate in fates)
    for manner in ("as asked", "bold headings", "behind a thought", "a paragraph opened again"):
        assert set(found[manner]) == {"steps read", "index read"}
    assert set(found["cut off"]) == {"steps unread", "index unread"}


def test_both_runs_are_configurations_that_can_be_built(
    tmp_path: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real_model, "smollm2", lambda: tmp_path)
    own = load(word_problems.sampled(tmp_path, GIVEN))
    assert [stage.name for stage in own.road] == ["sample", "estimate", "label"]
    given = load(word_problems.with_slips(tmp_path, GIVEN))
    assert given.road[0].name == "given" and "judge" in given.engines
    assert own.store == given.store and own.run != given.run
    assert {each.solution.count("Step") for each in own.stages.sample.examples} == {2, 3}
