"""Solutions that exist already: how each published form is read, and whose labels are whose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.errors import InputError
from storage.rows.records import Problem, Response
from workflows.answers import check_reference
from workflows.inputs.given import read_given
from workflows.inputs.problems import checked_problems
from workflows.settings import LeaveOutSettings

PROBLEM = Problem("p", "What is 4+5?", "9")
OTHER = Problem("q", "What is 2^2?", "4")
STEPS = ["4+5 is 4+4+1.", "That is 8+1.", "So it is \\boxed{9}."]


def read(folder: Path, *rows: Any) -> list[Response]:
    file = folder / "given.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_given(str(file), [OTHER, PROBLEM]).by_problem
    assert {given.problem_id for given in found} <= {"p", "q"}
    return [solution for given in found for solution in given.solutions]


def rated(text: str, rating: int, *others: str) -> dict[str, Any]:
    """A step of PRM800K, its first completion chosen where it is not rated -1."""
    completions = [{"text": text, "rating": rating, "flagged": None}]
    completions += [{"text": other, "rating": 0, "flagged": False} for other in others]
    chosen = None if rating == -1 else 0
    return {"completions": completions, "human_completion": None, "chosen_completion": chosen}


def prm800k(steps: list[dict[str, Any]], reason: str, **question: Any) -> dict[str, Any]:
    return {
        "labeler": "340d89bc",
        "timestamp": "2023-01-22T04:34:27.052924",
        "generation": 9,
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": {"problem": PROBLEM.problem, "ground_truth_answer": "9"} | question,
        "label": {"steps": steps, "total_time": 1, "finish_reason": reason},
    }


WHOLE = {"pre_generated_steps": [*STEPS[:2], "So it is 10.\n\n# Answer\n\n10"],
         "pre_generated_answer": "10"}  # fmt: skip
GOOD = [rated(step, 1) for step in STEPS]
WRITTEN = {"completions": [{"text": "no", "rating": -1, "flagged": None}],
           "human_completion": {"text": "So it is 9.\n\n# Answer\n\n9", "rating": None},
           "chosen_completion": None}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "steps", "label", "answer"),
    [
        pytest.param({"id": "gsm8k-0", "generator": "G", "problem": "What is 4+5?", "steps": STEPS,
                      "final_answer_correct": True, "label": -1}, STEPS, -1, "9",
                     id="ProcessBench, all right"),
        pytest.param({"problem": "what is  4+5?", "steps": STEPS, "label": 1}, STEPS, 1, "9",
                     id="ProcessBench, the second is wrong"),
        pytest.param({"problem_id": "p", "steps": STEPS}, STEPS, None, "9",
                     id="by its id alone, without labels"),
        pytest.param({"problem_id": "p", "response": "Step 1: 4+5.\n\nStep 2: \\boxed{9}"},
                     ["4+5.", "\\boxed{9}"], None, "9", id="a model's text with headers"),
        pytest.param({"problem_id": "p", "completion": "So.\n\nIt is \\boxed{8}."},
                     ["So.", "It is \\boxed{8}."], None, "8", id="a model's text without"),
        pytest.param(prm800k([rated(STEPS[0], 0), rated(STEPS[1], 1), rated("So it is 10.", -1)],
                             "found_error", **WHOLE),
                     WHOLE["pre_generated_steps"], 2, "10", id="PRM800K, an error found"),
        pytest.param(prm800k([rated(STEPS[0], -1, "another")], "found_error", **WHOLE),
                     WHOLE["pre_generated_steps"], 0, "10",
                     id="PRM800K, what follows an error stays"),
        pytest.param(prm800k(GOOD, "solution"), STEPS, -1, "9", id="PRM800K, phase 1"),
        pytest.param(prm800k([*GOOD[:2], WRITTEN], "solution"),
                     [*STEPS[:2], "So it is 9.\n\n# Answer\n\n9"], -1, "9",
                     id="PRM800K, a step that a person wrote"),
        pytest.param(prm800k(GOOD[:2], "give_up", **WHOLE), WHOLE["pre_generated_steps"], None,
                     "10", id="PRM800K, given up"),
        pytest.param(prm800k([rated(STEPS[0], -1)], "bad_problem", **WHOLE),
                     WHOLE["pre_generated_steps"], None, "10", id="PRM800K, a bad problem"),
    ],
)  # fmt: skip
def test_a_published_row_is_a_solution_and_its_label_peoples(
    row: dict[str, Any], steps: list[str], label: int | None, answer: str, tmp_path: Path
) -> None:
    (solution,) = read(tmp_path, row)
    assert (solution.problem_id, solution.problem) == ("p", PROBLEM.problem)
    assert (solution.steps, solution.label, solution.answer) == (steps, label, answer)


def test_solutions_come_by_problem_in_the_order_of_the_problems(tmp_path: Path) -> None:
    rows = [{"problem_id": name, "steps": [name, str(n)]} for n, name in enumerate("pqpq")]
    assert [one.steps for one in read(tmp_path, *rows)] == [
        ["q", "1"], ["q", "3"], ["p", "0"], ["p", "2"],
    ]  # fmt: skip


def test_what_was_read_is_said_and_strangers_are_counted(tmp_path: Path) -> None:
    named = ((PROBLEM.problem, 0), (PROBLEM.problem, None), ("Else?", 1))
    rows = [{"problem": text, "steps": ["a", "b"], "label": label} for text, label in named]
    (tmp_path / "g.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = read_given(str(tmp_path / "g.jsonl"), [PROBLEM]).said
    assert said.endswith("g.jsonl: 2 solutions of 1 problems, 1 labelled; 1 are of other problems")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"steps": STEPS}, "line 1: `problem` is missing, and no problem has its `problem_id`"),
        ({"problem": "Another?", "steps": STEPS}, "none of its 1 solutions is of a problem of `pr"),
        ({"problem_id": "p"}, "line 1: `steps` is missing, and so is `solution`"),
        ({"problem_id": "p", "steps": STEPS, "label": 3}, "line 1: `label` must be -1 or the ind"),
        ({"problem_id": "p", "steps": ["a", ""]}, "line 1: step 2 of 2 is empty or no text"),
        ([1], "line 1: must be an object with a problem and its solution"),
        (prm800k([{"completions": []}], "solution"), "line 1: step 1 of `label` has no completion"),
        (prm800k([{"completions": [{}]}], "solution"), "line 1: `question` and `label` are not as"),
        (prm800k(["a"], "solution"), "line 1: `question` and `label` are not as in PRM800K"),  # type: ignore[list-item]
        ({"question": {}, "label": {"steps": 3}}, "line 1: `question` and `label` are not as in"),
        (prm800k(GOOD, "solution", pre_generated_steps=3), "line 1: `question` and `label` are n"),
        (
            prm800k([{**GOOD[0], "chosen_completion": 7}], "solution"),
            "line 1: `question` and `label` are not as in PRM800K: IndexError",
        ),
    ],
)
def test_a_wrong_row_is_one_line(row: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read(tmp_path, row)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_prm800k_has_problems_and_solutions_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "phase2.jsonl"
    rows = [prm800k([rated(STEPS[0], -1)], "found_error", **WHOLE)] * 3
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    checked = checked_problems(
        file,
        None,
        check_reference,
        columns={"problem": "question.problem", "answer": "question.ground_truth_answer"},
        leave_out=LeaveOutSettings(repeated="drop"),
    )
    (given,) = read_given(str(file), checked.problems).by_problem
    assert (given.problem_id, len(given.solutions)) == (checked.problems[0].problem_id, 3)


def test_a_reference_solution_is_a_solution_that_nobody_labelled(tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    row = {"problem_id": "p", "problem": "1 + 1?", "reference_solution": "Step 1: a\n\nStep 2: b"}
    file.write_text(json.dumps(row))
    (given,) = read_given(str(file), [Problem("p", "1 + 1?", "2")]).by_problem
    assert [(each.steps, each.label) for each in given.solutions] == [(["a", "b"], None)]
