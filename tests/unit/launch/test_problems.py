"""`stepmill problems`: what a person is shown of a file before a build is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launch.cli.main import run_command
from storage.rows.records import Problem
from tests.support.published import rows_of
from workflows.answers import check_reference
from workflows.inputs.problems import checked_problems

GSM8K = rows_of("gsm8k")
PROSE = "It is true since n is even and m is odd"
BAD: list[Any] = [
    {"question": "Whose?"},
    {"question": "What is  wrong? ", "answer": "So.\n#### 7"},
    {"question": "What is wrong?", "answer": "So.\n#### 7"},
    {"question": "Why so?", "answer": f"So.\n#### {PROSE}"},
    {"question": "Which list?", "answer": "So.\n#### 1, 2, \\ldots, n"},
]


def write(file: Path, rows: list[Any]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command(["problems", *arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_it_counts_shows_three_and_lists_every_doubtful_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "own.jsonl", [*GSM8K, *BAD])
    bench = write(tmp_path / "bench.jsonl", GSM8K[:2])
    code, out, _ = asked(capsys, file, "--against", bench)
    assert code == 0
    assert f"{file}: 25 rows, 23 problems, 2 are none" in out
    assert "read as GSM8K (problem from `question`, answer behind `####`" in out
    assert out.count("\n  answer: ") == 3
    for line in (
        "1 refused (wrong_row):\n  line 21: `answer` is missing\n",
        "1 repeated: an earlier one has the text (repeated):\n  line 23 (",
        "): has the text of line 22\n",
        f"the answer is a sentence: '{PROSE}'",
        "1 without an answer that others can be compared with (unusual_answer):\n  line 25 (",
        f"2 in a benchmark (contaminated):\n  line 1 (73429d562982300e): stands in {bench}",
        "19 are clean",
    ):
        assert line in out


def test_the_same_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = asked(capsys, write(tmp_path / "own.jsonl", [*GSM8K, *BAD]), "--json")
    told = json.loads(out)
    assert (code, told["rows"], told["problems"], told["clean"]) == (0, 25, 23, 21)
    counts = {"repeated": 1, "sentence": 1, "unusual_answer": 1, "wrong_row": 1}
    assert told["counts"] == counts
    assert {name: len(told[name]) for name in counts} == counts
    assert told["wrong_row"] == [
        {"place": "line 21", "item": "line 21", "said": "`answer` is missing"}
    ]
    assert len(told["first"]) == 3


@pytest.mark.parametrize("name", ["clean.jsonl", "clean.parquet"])
def test_what_is_clean_is_written_in_our_own_form(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "own.jsonl", [*GSM8K, *BAD])
    code, out, _ = asked(capsys, file, "--out", str(tmp_path / name))
    assert (code, f"21 are clean, written to {tmp_path / name}" in out) == (0, True)
    checked = checked_problems(tmp_path / name, None, check_reference)
    assert (len(checked.problems), checked.dropped, checked.said) == (21, (), ())
    assert checked.problems[0].answer == "72"
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([name, "own.jsonl"])


def test_columns_are_named_as_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "own.jsonl", [{"prompt": "What is 1+1?", "gold": 2}])
    columns = ["--column", "problem=prompt", "--column", "answer=gold"]
    out = tmp_path / "clean.jsonl"
    assert asked(capsys, file, *columns, "--out", str(out))[0] == 0
    (problem,) = checked_problems(out, None, check_reference).problems
    assert problem == Problem(problem.problem_id, "What is 1+1?", "2")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["absent.csv"], "absent.csv: no such file of problems"),
        (["own.jsonl", "--column", "problem"], "--column problem: write FIELD=COLUMN, with one of"),
        (["own.jsonl", "--column", "text=q"], "--column text=q: write FIELD=COLUMN, with one of"),
        (["own.jsonl", "--column", "answer=q"], "`columns.answer` is `q`, which is no column"),
        (["own.jsonl", "--out", "x.csv"], "--out x.csv: name a .jsonl or .parquet file"),
        (["own.jsonl", "--out", "a/x.jsonl"], "--out a/x.jsonl: no such folder: a"),
        (["own.jsonl", "--out", "own.jsonl"], "--out own.jsonl: is the file that is read"),
        (["own.jsonl", "--against", "b.jsonl"], "b.jsonl: no such file of problems"),
        (["none.jsonl"], "none.jsonl: no problems in it that can be used (line 1: `answer` is em"),
        (["own.jsonl", "--against", "nothing.csv"], "nothing.csv: no row of this benchmark has a"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    options: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "own.jsonl", GSM8K)
    write(tmp_path / "none.jsonl", [{"problem": "What?", "answer": ""}])
    (tmp_path / "nothing.csv").write_text("a,b\n1,2\n")
    code, out, error = asked(capsys, *options)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert error.startswith("stepmill: ")
    assert said in error


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"problems": "p.csv"}, "p.csv, line 2: `problem` is missing; its columns are q, a: say"),
        ({"problems": "absent"}, "absent: no such file of problems"),
        ({"problems": "s3:bucket/p.jsonl"}, "s3:bucket/p.jsonl: did you mean s3://bucket/p.jsonl?"),
        (
            {"columns": {"text": "q"}},
            "`columns.text.[key]`: input should be 'problem_id', 'problem'",
        ),
        ({"columns": {"problem": "x"}}, "`columns.problem` is `x`, which is no column"),
        (
            {"leave_out": {"wrong": "ignore"}},
            "`leave_out.wrong`: input should be 'refuse' or 'drop'",
        ),
        ({"leave_out": {"against": ["absent.csv"]}}, "absent.csv: no such file of problems"),
        ({"solutions": "absent.jsonl"}, "absent.jsonl: no such file of solutions"),
    ],
)
def test_a_build_of_a_wrong_input_is_refused_in_one_line_and_leaves_nothing(
    change: dict[str, Any],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "own.jsonl", GSM8K)
    (tmp_path / "p.csv").write_text("q,a\nWhat?,1\n")
    model = {"kind": "scripted", "model": "tests.scripted_models:policy"}
    body = {
        "run": "r",
        "store": "file:store",
        "problems": "own.jsonl",
        "models": {"policy": model},
        "stages": {"road": ["sample"]},
    }
    (tmp_path / "build.yaml").write_text(json.dumps(body | change))
    assert run_command(["build", "build.yaml"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not [file for file in (tmp_path / "store").rglob("*") if "runs/r" in str(file)]
