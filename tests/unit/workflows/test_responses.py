"""Files of responses: which formats are read, and that a wrong one is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import InputError
from workflows.inputs.responses import Unheaded, read_responses

BENCHMARK = {
    "id": "gsm8k-0",
    "generator": "Qwen2-7B-Instruct",
    "problem": "What is 2 + 3?",
    "steps": ["2 + 3 = 6.", "The answer is \\boxed{6}."],
    "final_answer_correct": False,
    "label": 0,
}


def write(folder: Path, name: str, rows: list[Any]) -> Path:
    file = folder / name
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".json":
        file.write_text(json.dumps(rows, indent=1))
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize(
    "name", ["gsm8k.json", "gsm8k.jsonl", "gsm8k.parquet", "gsm8k-00000-of-00001.parquet"]
)
def test_processbench_is_read_in_every_format_with_the_file_as_its_subset(
    tmp_path: Path, name: str
) -> None:
    (found,) = read_responses(write(tmp_path, name, [BENCHMARK]))
    assert found.response_id == "gsm8k-0"
    assert found.steps == BENCHMARK["steps"]
    assert (found.label, found.correct, found.answer) == (0, False, "6")
    assert (found.subset, found.generator) == ("gsm8k", "Qwen2-7B-Instruct")


def test_a_column_names_the_subset_before_the_file_does(tmp_path: Path) -> None:
    rows = [BENCHMARK | {"id": str(n), "subset": name} for n, name in enumerate(("easy", "hard"))]
    found = read_responses(write(tmp_path, "all.jsonl", rows))
    assert [response.subset for response in found] == ["easy", "hard"]


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    write(tmp_path, "math.json", [BENCHMARK | {"id": "math-0"}])
    write(tmp_path, "gsm8k.jsonl", [BENCHMARK])
    (tmp_path / "README.md").write_text("not a benchmark")
    assert [(r.response_id, r.subset) for r in read_responses(tmp_path)] == [
        ("gsm8k-0", "gsm8k"), ("math-0", "math"),
    ]  # fmt: skip


def test_a_plain_solution_is_cut_into_its_steps(tmp_path: Path) -> None:
    row = {"problem": "2 + 3?", "solution": "Step 1: 2 + 3 = 5.\n\nStep 2: So \\boxed{5}."}
    first, second = read_responses(write(tmp_path, "mine.jsonl", [row, row]))
    assert first.steps == ["2 + 3 = 5.", "So \\boxed{5}."]
    assert [first.response_id, second.response_id] == ["mine-0", "mine-1"]
    assert first.problem_id == second.problem_id, "responses to one problem belong together"
    assert (first.label, first.correct, first.subset, first.answer) == (None, None, "", "5")


@pytest.mark.parametrize(
    ("unheaded", "found"),
    [
        ("blank_lines", ["2 + 3 = 5.", "```\n\nx\n```", "So \\boxed{5}."]),
        ("one_step", ["2 + 3 = 5.\n\n```\n\nx\n```\n \nSo \\boxed{5}."]),
    ],
)
def test_a_solution_without_headers_is_cut_at_blank_lines_or_not_at_all(
    tmp_path: Path, unheaded: Unheaded, found: list[str]
) -> None:
    row = {"problem": "2 + 3?", "solution": "2 + 3 = 5.\n\n```\n\nx\n```\n \nSo \\boxed{5}.\n"}
    file = write(tmp_path, "mine.jsonl", [row])
    (response,) = read_responses(file, unheaded=unheaded)
    assert response.steps == found


def test_only_so_many_responses_are_read(tmp_path: Path) -> None:
    rows = [BENCHMARK | {"id": str(n)} for n in range(5)]
    assert len(read_responses(write(tmp_path, "a.jsonl", rows), limit=2)) == 2


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in BENCHMARK.items() if name not in names}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        pytest.param(without("steps"), "`steps` is missing, and so is `solution`", id="no steps"),
        pytest.param(BENCHMARK | {"steps": []}, "`steps` is an empty list", id="empty list"),
        pytest.param(BENCHMARK | {"steps": ["a", " "]}, "step 2 of 2 is empty", id="empty step"),
        pytest.param(BENCHMARK | {"steps": ["a", 5]}, "step 2 of 2 is empty", id="number"),
        pytest.param(BENCHMARK | {"steps": "a\nb"}, "a list of texts, not str", id="text"),
        pytest.param(
            without("steps") | {"solution": ""}, "`solution` is empty", id="empty solution"
        ),
        pytest.param(
            without("steps", "label") | {"solution": "Step 1: a\n\nStep 2:"}, "an empty step",
            id="a header and nothing",
        ),
        pytest.param(
            without("steps", "label") | {"solution": "Step 1: a\n\nThen b\n\nStep 3: c"},
            "lacks a header that can be read behind step 1", id="a header is missing",
        ),
        pytest.param(without("problem"), "`problem` is missing", id="no problem"),
        pytest.param(BENCHMARK | {"problem": 3}, "`problem` must be text, not int", id="no text"),
        pytest.param(BENCHMARK | {"label": 2}, "`label` must be -1 or the index", id="label"),
        pytest.param(BENCHMARK | {"label": "0"}, "`label` must be -1 or the", id="text label"),
        pytest.param(BENCHMARK | {"final_answer_correct": 1}, "must be true or false", id="truth"),
        pytest.param(
            {"problem": "2 + 3?", "answer": "5", "unique_id": "t/1"},
            "no file of responses (its columns: problem, answer, unique_id)",
            id="answers of another suite",
        ),
        pytest.param(["a"], "must be an object", id="no object"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_refused_with_its_place_and_the_reason(
    tmp_path: Path, row: Any, said: str
) -> None:
    file = write(tmp_path, "bad.jsonl", [BENCHMARK, row])
    with pytest.raises(InputError) as caught:
        read_responses(file)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{file}, line 2: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent.jsonl", None, "no such file of responses"),
        ("empty.jsonl", b"", "no responses in it"),
        ("empty.json", b"[]", "no responses in it"),
        ("torn.jsonl", b'{"problem": ', "line 1: not JSON"),
        ("torn.json", b'[{"problem": "a",\n ', "not JSON"),
        ("binary.jsonl", b"\xff\xfe\x00", "save it as UTF-8"),
        ("not.parquet", b"PAR1", "can't be read as Parquet"),
        ("answers.csv", b"a,b", "are read from .json, .jsonl, .parquet files"),
    ],
)
def test_an_unreadable_file_is_refused(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_responses(tmp_path / name)


def test_a_folder_without_a_file_of_responses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("not a benchmark")
    with pytest.raises(InputError, match="file in this folder"):
        read_responses(tmp_path)


def test_the_same_id_twice_is_refused_with_both_places(tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", [BENCHMARK, BENCHMARK])
    with pytest.raises(InputError, match=r"line 2: id 'gsm8k-0' stands also in .*line 1"):
        read_responses(file)
