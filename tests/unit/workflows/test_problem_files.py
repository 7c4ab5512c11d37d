"""What a file of problems may be, and the one line that each wrong file is told."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import InputError
from storage.objects.memory import memory_store
from storage.rows.records import Problem
from workflows.answers import check_reference
from workflows.inputs import places, tables
from workflows.inputs.problems import Checked, checked_problems
from workflows.inputs.shapes import made_id
from workflows.settings import LeaveOutSettings

ROWS = [
    {"problem_id": "a", "problem": "What is 4+5?\nSay \"it\", or 'x'.", "answer": "9"},
    {"problem_id": "b", "problem": "Où est √4, 全部?", "answer": "\\frac{1}{2}"},
]
READ = [Problem(**row) for row in ROWS]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def parquet_of(names: list[str], *columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(list(map(pa.array, columns)), names=names), sink)
    return sink.getvalue()


NO_TEXT = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers())
LONG_AGO = pa.array([2**62], pa.timestamp("us"))


def cells(between: str) -> bytes:
    return pl.DataFrame(ROWS).write_csv(separator=between).encode()


def zst(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def check(source: object, **wanted: Any) -> Checked:
    return checked_problems(str(source), wanted.pop("limit", None), check_reference, **wanted)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("p.jsonl", lines(ROWS), id="JSON lines"),
        pytest.param("p.ndjson", lines(ROWS), id="JSON lines by their other name"),
        pytest.param("p.txt", lines(ROWS), id="JSON lines under a name that says nothing"),
        pytest.param("p.jsonl", b"\n\n" + lines(ROWS), id="blank lines before"),
        pytest.param("p.jsonl", lines(ROWS).replace(b"\n", b"\r\n"), id="lines that end in CRLF"),
        pytest.param("p.jsonl", b"\xef\xbb\xbf" + lines(ROWS), id="a byte-order mark"),
        pytest.param("p.json", json.dumps(ROWS).encode(), id="a JSON list"),
        pytest.param("p.json", json.dumps(ROWS, indent=2).encode(), id="a pretty JSON list"),
        pytest.param("p.jsonl", json.dumps(ROWS, indent=2).encode(), id="a list called .jsonl"),
        pytest.param("p.json", lines(ROWS), id="JSON lines called .json"),
        pytest.param("p.json", json.dumps({"data": ROWS}).encode(), id="a list under data"),
        pytest.param(
            "p.json",
            json.dumps({"rows": [{"row_idx": 0, "row": row} for row in ROWS]}, indent=1).encode(),
            id="rows as the hub's viewer sends them",
        ),
        pytest.param("p.csv", cells(","), id="CSV with quotes, commas and lines within"),
        pytest.param("p.csv", b"\xef\xbb\xbf" + cells(","), id="CSV with a byte-order mark"),
        pytest.param("p.csv", cells(";"), id="CSV with semicolons"),
        pytest.param("p.tsv", cells("\t"), id="TSV"),
        pytest.param("p.parquet", parquet(ROWS), id="Parquet"),
        pytest.param("p", parquet(ROWS), id="Parquet under a name that says nothing"),
        pytest.param("p.jsonl.gz", gzip.compress(lines(ROWS)), id="gz"),
        pytest.param("p.csv.gz", gzip.compress(cells(",")), id="CSV in gz"),
        pytest.param("p.jsonl.zst", zst(lines(ROWS)), id="zst"),
        pytest.param("p.parquet.zst", zst(parquet(ROWS)), id="Parquet in zst"),
        pytest.param("p.jsonl", gzip.compress(lines(ROWS)), id="gz that is not called so"),
    ],
)
def test_it_is_read_as_the_same_problems(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert check(tmp_path / name) == Checked(READ, ())


ROW = {"problem_id": "a", "problem": "What is 4+5?", "answer": "9"}


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        pytest.param(
            "p.jsonl",
            lines([ROW]) + '{"problem": "Où"}'.encode("latin-1"),
            ", line 2: byte 0xf9 is not UTF-8: save the file as UTF-8, or, if it is Latin-1: iconv",
            id="Latin-1",
        ),
        pytest.param("p.csv", lines([ROW]).decode().encode("utf-16"), "is UTF-16", id="UTF-16"),
        pytest.param("p.jsonl", lines([ROW]).decode().encode("utf-16-le"), "is UTF-16",
                     id="UTF-16 without a mark"),
        pytest.param("p.xlsx", b"PK\x03\x04rest", "is a zip or Excel file: unpack it, or export",
                     id="Excel"),
        pytest.param("p.jsonl.gz", gzip.compress(lines([ROW] * 99))[:40],
                     "can't be read to its end", id="half of a gz"),
        pytest.param("p.parquet", b"PAR1", "can't be read as Parquet", id="half of a Parquet file"),
        pytest.param("p.jsonl", b'{"problem_id": "a",\n', "line 1: not JSON", id="broken JSON"),
        pytest.param("p.json", b"[\n" + lines([ROW]).strip() + b",\n]", "line 3: not JSON",
                     id="a list with a comma too many"),
        pytest.param("p.jsonl", lines([ROW]).replace(b"}\n", b"},\n") * 2,
                     "line 1: not JSON (Extra data): remove the comma at its end",
                     id="commas behind the lines"),
        pytest.param("p.txt", cells(","), "a table of commas or tabs must end in .csv or .tsv",
                     id="CSV that is not called so"),
        pytest.param("p.csv", b"problem_id,problem,answer\na,1, 2 or 3?,2\n",
                     "line 2: has 4 cells and the header 3: put a cell that holds a comma",
                     id="a comma without quotes"),
        pytest.param("p.csv", b"problem,problem,answer\na,b,c\n", "names `problem` twice",
                     id="a column twice"),
        pytest.param("p.csv", b"problem_id,problem,answer\na,What?,\n", "`answer` is missing",
                     id="an empty cell"),
        pytest.param("p.jsonl", lines([ROW | {"answer": None}]), "`answer` is missing", id="null"),
        pytest.param("p.jsonl", lines([ROW | {"answer": True}]), "must be text, not bool",
                     id="true as an answer"),
        pytest.param("p.jsonl", lines([ROW | {"answer": ["1", "2"]}]), "must be text, not list",
                     id="two answers"),
        pytest.param("p.jsonl", lines([ROW | {"problem": ["x"]}]), "must be text, not list",
                     id="a list as a problem"),
        pytest.param("p.parquet", parquet([ROW | {"answer": float("nan")}]), "`answer` is missing",
                     id="NaN"),
        pytest.param("p.jsonl", lines([{"qid": "a", "prompt": "What?", "gold": "1"}]),
                     "line 1: `problem` is missing; its columns are qid, prompt, gold: say which "
                     "is which with `columns: {problem: …, answer: …}`",
                     id="other columns"),
        pytest.param("p.jsonl", lines([{"question": "What?", "gold": "1"}]),
                     "`answer` is missing; its columns are question, gold", id="one other column"),
        pytest.param("p.jsonl", lines([{"question": "What?", "answer": "So.\n#### 4"},
                                       {"question": "And?", "answer": "5"}]),
                     "line 2: `answer` has no answer behind `####`", id="GSM8K without its marks"),
        pytest.param("p.json", json.dumps({"train": [ROW], "test": [ROW]}).encode(),
                     "holds the lists train, test: write one of them", id="two lists"),
        pytest.param("p.jsonl", lines([ROW, ROW]),
                     "line 2: problem_id 'a' stands also at line 1; make the ids unique",
                     id="an id twice"),
        pytest.param("p.jsonl", b"", "no problems in it", id="an empty file"),
        pytest.param("p.jsonl", b'{"problem": "a", "answer": 1e400, "id": 1}\n',
                     "line 1: `answer` is missing", id="an answer without bound"),
        pytest.param("p.jsonl", b'{"problem": "a", "answer": -Infinity}\n{}\n',
                     "line 1: `answer` is missing", id="an answer below all numbers"),
        pytest.param("p.jsonl", b'{"problem": "a", "answer": ' + b"9" * 5000 + b"}\n",
                     "line 1: not JSON (a number of too many digits)", id="5,000 digits"),
        pytest.param("p.jsonl", b'{"problem": "a", "answer": "1", "answer": "2"}\n',
                     "line 1: names `answer` twice, for two values", id="two values for one name"),
        pytest.param("p.jsonl", lines([ROW]) + b'{"answer": 1, "answer": 2, "problem": "a"}\n',
                     "line 2: names `answer` twice, for two values", id="the same in a later line"),
        pytest.param("p.json", b'[{"problem": "a", "answer": "1", "answer": "2"}]',
                     "names `answer` twice, for two values", id="the same in a list"),
        pytest.param("p.parquet", parquet_of(["problem", "answer", "answer"], ["a"], ["1"], ["2"]),
                     "can't be read as Parquet: it names `answer` twice", id="the same in Parquet"),
        pytest.param("p.parquet", parquet_of(["problem", "answer"], NO_TEXT, ["1"]),
                     "can't be read as Parquet: ", id="texts of Parquet that are no UTF-8"),
        pytest.param("p.parquet",
                     parquet_of(["problem", "answer", "on"], ["a"], ["1"], LONG_AGO),
                     "can't be read as Parquet: rows from 1 on: ", id="a date that Python has not"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line_that_says_what_to_change(
    name: str, data: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError) as refused:
        check(tmp_path / name)
    assert said in str(refused.value)
    assert str(refused.value).startswith(str(tmp_path / name))
    assert "\n" not in str(refused.value)


def test_a_line_without_an_end_is_not_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_LONGEST_LINE", "_LONGEST_VALUE"):
        monkeypatch.setattr(tables, name, 1000)
    for data, said in (
        (b"x" * 5000, "line 1: has more than"),
        (b"xy\n" * 5000, "line 1: not JSON"),
    ):
        (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(data))
        with pytest.raises(InputError, match=f"{said}.*: write one row a line"):
            check(tmp_path / "p.jsonl.gz")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("absent.jsonl", "no such file of problems"),
        ("s3:bucket/p.jsonl", "did you mean s3://bucket/p.jsonl?"),
        ("s3:/bucket/p.jsonl", "did you mean s3://bucket/p.jsonl?"),
        ("https://host/p.jsonl", "https:// is not read: download it and name the file"),
        ("gs://bucket/p.jsonl", "gs:// is not read"),
        ("hf://openai/gsm8k", "write hf://datasets/NAME"),
        ("hf://datasets/openai/gsm8k?name=main", "write hf://datasets/NAME"),
    ],
)
def test_a_place_that_is_none_is_told_what_to_write(source: str, said: str) -> None:
    with pytest.raises(InputError, match=said.replace("?", r"\?")):
        check(source)


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (204.0, "204"), (0.5, "0.5"), (1e-7, "0.0000001"), (["42"], "42"), ([3], "3")],
)
def test_a_number_is_an_answer_and_an_id_as_it_is_written(
    value: object, text: str, tmp_path: Path
) -> None:
    (tmp_path / "p.jsonl").write_bytes(lines([{**ROW, "problem_id": value, "answer": value}]))
    (problem,) = check(tmp_path / "p.jsonl").problems
    assert (problem.problem_id, problem.answer) == (text, text)


def folder(where: Path, **files: bytes) -> Path:
    for name, data in files.items():
        file = where / name.replace("__", "/").replace("_json", ".json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return where


def test_a_folder_is_all_its_tables_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder(
        tmp_path,
        data__b_jsonl=lines(ROWS[1:]),
        data__a_jsonl=lines(ROWS[:1]),
        dataset_info_json=b"{}",
        _cache__c_jsonl=b"no",
    )
    (tmp_path / "README.md").write_text("no table")
    assert check(tmp_path).problems == READ
    assert check(tmp_path / "data/*.jsonl").problems == READ
    assert check(tmp_path, limit=1).problems == READ[:1]


def test_a_row_in_a_folder_is_named_by_its_file(tmp_path: Path) -> None:
    folder(tmp_path, a_jsonl=lines(ROWS), deep__b_jsonl=lines([ROW | {"problem_id": "c"}]) + b"{")
    with pytest.raises(InputError, match=r"deep/b\.jsonl, line 2: not JSON"):
        check(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        ("train/algebra/1.parquet", "test/algebra/1.parquet"),
        ("train.parquet", "validation.parquet"),
    ],
)
def test_a_folder_with_two_splits_is_not_mixed(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(parquet([ROW]))
    with pytest.raises(InputError, match=r"holds the splits .*: name one of them"):
        check(tmp_path)
    assert len(check(tmp_path / names[0]).problems) == 1


def test_a_folder_without_tables_says_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("none")
    with pytest.raises(InputError, match=r"no \.jsonl, .* file in this folder"):
        check(tmp_path)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stores in memory behind `s3://`, by their URLs."""
    opened: dict[str, Any] = {}

    def open_store(url: str) -> Any:
        return opened.setdefault(url, memory_store(url))

    monkeypatch.setattr(places, "open_store", open_store)
    return opened


def test_an_object_of_a_bucket_and_all_below_a_prefix_are_read(
    bucket: dict[str, Any], tmp_path: Path
) -> None:
    places.open_store("s3://b/deep").put_new("p.jsonl.gz", gzip.compress(lines(ROWS)))
    assert check("s3://b/deep/p.jsonl.gz").problems == READ
    assert check("s3://b/deep").problems == READ
    with pytest.raises(InputError, match=r"q\.jsonl: no such object"):
        check("s3://b/deep/q.jsonl")
    with pytest.raises(InputError, match="object below it"):
        check("s3://b/empty")


GOOD = {"problem": "What is 2+2?", "answer": "4"}
PROSE = "It is true since n is even and m is odd"


@pytest.mark.parametrize(
    ("rows", "settings", "kept", "dropped"),
    [
        pytest.param([GOOD, {**GOOD, "problem": "What?", "answer": None}], {"wrong": "drop"},
                     1, ["wrong_row"], id="a row without an answer"),
        pytest.param([GOOD, {**GOOD, "problem": "Which?", "answer": "\\frac{1}{"}],
                     {"wrong": "drop"}, 1, ["wrong_row"], id="a broken answer"),
        pytest.param([ROW, ROW | {"problem": "Another"}], {"wrong": "drop"}, 1, ["wrong_row"],
                     id="an id twice"),
        pytest.param([GOOD, {**GOOD, "problem": "what is  2+2?"}], {"repeated": "drop"},
                     1, ["repeated"], id="a text twice"),
        pytest.param([GOOD, {**GOOD, "problem": "what is  2+2?"}], {}, 2, [],
                     id="a text twice that is kept"),
        pytest.param([GOOD, {**GOOD, "problem": "Is it?", "answer": PROSE}],
                     {"sentences": "drop"}, 1, ["sentence"], id="a sentence"),
        pytest.param([GOOD, {**GOOD, "problem": "Is it?", "answer": PROSE}], {}, 2, [],
                     id="a sentence that is kept"),
    ],
)  # fmt: skip
def test_what_the_settings_leave_out_is_dropped_and_said(
    rows: list[dict[str, Any]],
    settings: dict[str, Any],
    kept: int,
    dropped: list[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "p.jsonl").write_bytes(lines(rows))
    checked = check(tmp_path / "p.jsonl", leave_out=LeaveOutSettings(**settings))
    assert len(checked.problems) == kept
    assert [drop.reason for drop in checked.dropped] == dropped
    assert len({drop.item for drop in checked.dropped}) == len(dropped)
    assert not {drop.item for drop in checked.dropped} & {p.problem_id for p in checked.problems}
    assert any("line 2" in line for line in checked.said)


def test_all_wrong_rows_are_named_at_once_and_how_to_go_on_without_them(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(lines([ROW] + [{"problem": "x"}] * 30))
    with pytest.raises(InputError) as refused:
        check(tmp_path / "p.jsonl")
    assert "line 2: `problem_id` is missing; line 3: `problem_id` is missing" in str(refused.value)
    assert "and 10 more (mend them, or set `leave_out.wrong: drop`)" in str(refused.value)


def test_a_problem_of_a_benchmark_is_dropped_as_contaminated(tmp_path: Path) -> None:
    long = "A farmer has three fields of wheat and four of barley and sells a fifth of them all."
    (tmp_path / "bench.csv").write_text(f"question\nWhat is  2+2?\n{long}\n")
    rows = [
        GOOD,
        {"problem": f"In spring: {long} How many?", "answer": "1"},
        {**GOOD, "problem": "?"},
    ]
    (tmp_path / "p.jsonl").write_bytes(lines(rows))
    against = LeaveOutSettings(against=(str(tmp_path / "bench.csv"),))
    checked = check(tmp_path / "p.jsonl", leave_out=against)
    assert [problem.problem for problem in checked.problems] == ["?"]
    assert [drop.reason for drop in checked.dropped] == ["contaminated"] * 2
    assert "stands in" in checked.dropped[0].detail
    assert "shares with" in checked.dropped[1].detail


def test_an_id_that_a_row_has_not_is_made_of_its_text_and_copies_are_counted(
    tmp_path: Path,
) -> None:
    (tmp_path / "p.jsonl").write_bytes(lines([GOOD, GOOD, {**GOOD, "problem": "Else?"}, GOOD]))
    (tmp_path / "q.csv").write_text("question,answer\nElse?,4\n")
    made = made_id("What is 2+2?")
    names = [problem.problem_id for problem in check(tmp_path / "p.jsonl").problems]
    assert names == [made, f"{made}-2", made_id("Else?"), f"{made}-3"]
    assert [p.problem_id for p in check(tmp_path / "q.csv").problems] == [made_id("Else?")]


Columns = dict[str, str]


@pytest.mark.parametrize(
    ("row", "columns", "problem"),
    [
        pytest.param(
            {"prompt": "What?", "gold": 3, "qid": 9},
            {"problem": "prompt", "answer": "gold", "problem_id": "qid"},
            Problem("9", "What?", "3"),
            id="all named",
        ),
        pytest.param(
            {"prompt": "What?", "answer": "3", "id": "x", "level": 2},
            {"problem": "prompt"},
            Problem("x", "What?", "3", level="2"),
            id="one named, others known",
        ),
        pytest.param(
            {"q": "What?", "worked": "So \\boxed{5}.", "answer": "B", "id": 1},
            {"problem": "q", "reference_solution": "worked"},
            Problem("1", "What?", "5", reference_solution="So \\boxed{5}."),
            id="the answer in a solution's box",
        ),
        pytest.param(
            {"prompt": [{"role": "user", "content": "What?"}], "reward_model": {"truth": 3}},
            {"problem": "prompt.0.content", "answer": "reward_model.truth"},
            Problem(made_id("What?"), "What?", "3"),
            id="columns within columns",
        ),
        pytest.param(
            {"q": "What?", "a": "So.\n#### 1,250", "id": 1},
            {"problem": "q", "answer": "a"},
            Problem("1", "What?", "1250", reference_solution="So."),
            id="the answer behind its mark",
        ),
    ],
)
def test_columns_of_other_names_are_named(
    row: dict[str, Any], columns: Columns, problem: Problem, tmp_path: Path
) -> None:
    (tmp_path / "p.jsonl").write_bytes(lines([row]))
    assert check(tmp_path / "p.jsonl", columns=columns).problems == [problem]


def test_a_column_that_is_named_and_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(lines([GOOD]))
    with pytest.raises(
        InputError, match=r"`columns.answer` is `gold`, which is no column: its col"
    ):
        check(tmp_path / "p.jsonl", columns={"answer": "gold"})
