"""Verifications as they are taught: executed code, verdicts that follow from its output."""

import random

from demo import check, rationales, solutions, world
from workflows.formats import prompts

HABITS = solutions.Habits(slip=0.2, repair=0.1, check=0.1, swap=0.2, boxless=0.02)


def _written(seed: int) -> list[tuple[world.Problem, tuple[str, ...], rationales.Verification]]:
    rng = random.Random(seed)
    found = []
    for problem in world.sample(300, seed, "train"):
        steps = solutions.write(problem, HABITS, rng).steps
        verified = rationales.verify(problem, steps)
        if verified is not None:
            found.append((problem, steps, verified))
    return found


def test_nearly_every_solution_can_be_verified() -> None:
    assert len(_written(1)) >= 0.97 * 300


def test_the_index_is_the_checkers_first_error() -> None:
    for problem, steps, verified in _written(2):
        truth = check.first_error(problem, steps)
        assert verified.index == (-1 if truth is None else truth + 1)
        assert verified.reply.endswith(f"\\boxed{{{verified.index}}}")


def test_each_paragraph_has_its_heading_analysis_and_executed_code() -> None:
    for _, steps, verified in _written(3):
        text = "### Paragraph 1\n<analyze>\n" + verified.reply
        parts = text.split("</think>")[0].split("### Paragraph ")[1:]
        assert len(parts) == len(steps)
        variables: dict[str, object] = {}
        for number, part in enumerate(parts, start=1):
            assert part.startswith(f"{number}\n<analyze>\n")
            code = prompts.last_code(part)
            assert code is not None
            output = rationales.run(code, variables)
            assert prompts.CODE_CLOSE + prompts.code_output(output) in part
            assert part.rstrip().endswith("</verify>")


def test_the_text_resumes_exactly_where_a_stage_cuts_it() -> None:
    _, steps, verified = _written(4)[0]
    chat = prompts.rationale_chat("p", steps)
    whole = chat.prefill + verified.reply
    assert whole.startswith(prompts.THINK_OPEN + prompts.paragraph_heading(1))
    assert prompts.conclude(whole.split(prompts.THINK_CLOSE)[0]) + f"{verified.index}}}" == whole


def test_code_that_divides_by_zero_prints_its_error() -> None:
    assert rationales.run("print(1 % 0)", {}).startswith("Code execute Error: ZeroDivisionError: ")


def test_an_answer_with_a_leading_zero_is_still_checked() -> None:
    problem = next(world.sample(1, 6, "train", families=("mean",)))
    steps = (*problem.reference_solution[:-1], f"The answer is \\boxed{{0{problem.answer}}}.")
    verified = rationales.verify(problem, steps)
    assert verified is not None
    assert verified.index == -1


def test_an_answer_that_is_no_number_is_wrong() -> None:
    problem = next(world.sample(1, 6, "train", families=("mean",)))
    for box in ("1}2", "1 2", "x", ""):
        steps = (
            *problem.reference_solution[:-1],
            f"It is \\boxed{{{problem.answer}}} \\boxed{{{box}}}.",
        )
        verified = rationales.verify(problem, steps)
        assert verified is None or verified.index == len(steps), box
