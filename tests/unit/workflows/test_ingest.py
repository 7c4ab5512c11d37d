"""Problems in: what is read, and what each wrong file is told."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import InputError, UnusualAnswer
from storage.rows.records import Drop, Problem
from workflows.inputs.problems import checked_problems

GOOD = {"problem_id": "a", "problem": "1 + 1?", "answer": "2"}


def any_answer(answer: str) -> None:
    if answer == "broken":
        raise InputError("the answer is cut off")
    if answer == "unusual":
        raise UnusualAnswer("the answer can't be compared")


def write(folder: Path, *lines: object) -> Path:
    file = folder / "problems.jsonl"
    file.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return file


def test_json_lines_are_read_in_order_and_unknown_columns_are_ignored(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD | {"extra": 1}, "", GOOD | {"problem_id": "b", "level": "2"})
    assert checked_problems(file, None, any_answer).problems == [
        Problem("a", "1 + 1?", "2"),
        Problem("b", "1 + 1?", "2", level="2"),
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    file = write(tmp_path, "\ufeff" + json.dumps(GOOD))
    assert checked_problems(file, None, any_answer).problems == [Problem("a", "1 + 1?", "2")]


def test_parquet_reads_the_same_as_json_lines(tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"problem_id": "b"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "problems.parquet")
    found = checked_problems(tmp_path / "problems.parquet", None, any_answer).problems
    assert found == checked_problems(write(tmp_path, *rows), None, any_answer).problems


def test_a_limit_takes_the_first_problems(tmp_path: Path) -> None:
    rows = [GOOD | {"problem_id": str(i)} for i in range(5)]
    assert len(checked_problems(write(tmp_path, *rows), 3, any_answer).problems) == 3


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        pytest.param([], "no problems", id="empty file"),
        pytest.param([GOOD, "{"], "line 2: not JSON", id="broken JSON"),
        pytest.param([[1]], "line 1: must be an object", id="not an object"),
        pytest.param([{"problem_id": "a", "answer": "1"}], "`problem` is missing", id="missing"),
        pytest.param([GOOD | {"answer": " "}], "`answer` is empty", id="empty answer"),
        pytest.param(
            [GOOD | {"answer": {"value": 2}}], "`answer` must be text, not dict", id="wrong type"
        ),
        pytest.param(
            ['{"problem_id": "a", "problem": "what \\ud83d?", "answer": "1"}'],
            "line 1: `problem` holds half of a surrogate pair",
            id="half of a surrogate pair",
        ),
        pytest.param(
            [GOOD, GOOD], "line 2: problem_id 'a' stands also at line 1", id="duplicate id"
        ),
        pytest.param(
            [GOOD | {"answer": "broken"}, GOOD | {"problem_id": "b", "answer": "broken"}],
            r"line 1 \(a\): the answer is cut off; line 2 \(b\): the answer is cut off",
            id="broken answers, all named",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_the_reason(
    tmp_path: Path, lines: list[object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        checked_problems(write(tmp_path, *lines), None, any_answer)


def test_a_problem_with_an_unusual_answer_is_left_out_and_the_file_goes_on(tmp_path: Path) -> None:
    rows = [GOOD, GOOD | {"problem_id": "b", "answer": "unusual"}, GOOD | {"problem_id": "c"}]
    checked = checked_problems(write(tmp_path, *rows), None, any_answer)
    assert [problem.problem_id for problem in checked.problems] == ["a", "c"]
    assert checked.dropped == (
        Drop("b", "unusual_answer", "line 2 (b): the answer can't be compared"),
    )


def test_the_strict_way_refuses_a_file_for_an_unusual_answer(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD, GOOD | {"problem_id": "b", "answer": "unusual"})
    with pytest.raises(InputError, match=r"line 2 \(b\): the answer can't be compared"):
        checked_problems(file, None, any_answer, "refuse")


def test_a_file_of_nothing_but_unusual_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no problems in it that can be used"):
        checked_problems(write(tmp_path, GOOD | {"answer": "unusual"}), None, any_answer)


@pytest.mark.parametrize("name", ["absent.jsonl", "absent.parquet"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: no such file"):
        checked_problems(tmp_path / name, None, any_answer)


def test_a_file_that_is_no_parquet_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "problems.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match="as Parquet"):
        checked_problems(tmp_path / "problems.parquet", None, any_answer)
