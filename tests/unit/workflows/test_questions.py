"""Problems to be solved: an answer that a row has is read, whatever other rows lack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.errors import InputError
from workflows.inputs.questions import read_questions

BARE: dict[str, Any] = {"id": "a", "problem": "1 + 1?"}
KNOWN = {"id": "b", "problem": "2 + 2?", "answer": "4"}
BOXED = {"id": "c", "problem": "3 + 3?", "solution": "So \\boxed{6}."}


def refused(answer: str) -> None:
    if answer == "?":
        raise InputError("can't be compared")


def answers(folder: Path, *rows: Any) -> dict[str, str]:
    file = folder / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {row.problem_id: row.answer for row in read_questions(str(file), None, refused)}


@pytest.mark.parametrize("rows", [(BARE, KNOWN), (KNOWN, BARE), (BARE, BARE | {"id": "d"}, KNOWN)])
def test_answers_are_read_in_whatever_row_the_first_one_stands(
    rows: tuple[Any, ...], tmp_path: Path
) -> None:
    found = answers(tmp_path, *rows)
    assert found == {row["id"]: row.get("answer", "") for row in rows}


def test_an_answer_that_is_missing_or_not_to_be_compared_is_empty(tmp_path: Path) -> None:
    found = answers(tmp_path, KNOWN, BARE | {"answer": None}, KNOWN | {"id": "e", "answer": "?"})
    assert found == {"b": "4", "a": "", "e": ""}
    assert answers(tmp_path, BARE | {"solution": "none"}, BOXED) == {"a": "", "c": "6"}


def test_an_id_that_two_rows_have_is_refused_and_one_that_none_says_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'a' stands also at line 1"):
        answers(tmp_path, BARE, KNOWN | {"id": "a"})
    assert len(answers(tmp_path, {"problem": "x"}, {"problem": "x"}, KNOWN)) == 3


@pytest.mark.parametrize("row", [{"answer": "4"}, ["problem"], {"problem": " "}])
def test_a_row_without_a_problem_is_refused_with_its_place(row: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2"):
        answers(tmp_path, KNOWN, row)
