r"""Every form in which somebody has problems: taken as it is, or refused with what to change.

What is said here is what `build`, `doctor` and `preview` say: the one check of the input.
"""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from launch.config import load
from workflows.builds.run import check_input
from workflows.runs.checks import Finding

OWN = {"problem_id": "a", "problem": "What is 2 + 2?", "answer": "4"}
SECOND = {"problem_id": "b", "problem": "What is 3 + 3?", "answer": "6"}
BOXED = r"It is $\boxed{4}$."


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(row: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    pl.DataFrame([row]).write_parquet(out)
    return out.getvalue()


TAKEN: dict[str, tuple[str, bytes]] = {
    "JSON lines": ("x.jsonl", lines(OWN, SECOND)),
    "JSON lines in a .txt": ("x.txt", lines(OWN)),
    "CRLF and blank lines": ("x.ndjson", b"\r\n" + lines(OWN).replace(b"\n", b"\r\n")),
    "a pretty list": ("x.json", json.dumps([OWN, SECOND], indent=2).encode()),
    "Parquet": ("x.parquet", parquet(OWN)),
    "CSV": ("x.csv", b"problem_id,problem,answer\na,What is 2 + 2?,4\n"),
    "TSV": ("x.tsv", b"problem_id\tproblem\tanswer\na\tWhat is 2 + 2?\t4\n"),
    "a byte-order mark": ("x.jsonl", b"\xef\xbb\xbf" + lines(OWN)),
    "gzip": ("x.jsonl.gz", gzip.compress(lines(OWN))),
    "a list in a .jsonl": ("x.jsonl", json.dumps([OWN, SECOND]).encode()),
    "rows below `data`": ("x.json", json.dumps({"data": [OWN, SECOND]}).encode()),
    "MATH": (
        "x.jsonl",
        lines({"problem": "2 + 2?", "level": "Level 1", "type": "Algebra", "solution": BOXED}),
    ),
    "MATH-500": (
        "x.jsonl",
        lines({"unique_id": "u/1", "problem": "2 + 2?", "solution": BOXED, "answer": "4",
               "subject": "Algebra", "level": 1}),
    ),
    "GSM8K": ("x.jsonl", lines({"question": "Two and two?", "answer": "2+2=<<2+2=4>>4\n#### 4"})),
    "AIME": ("x.jsonl", lines({"id": 60, "problem": "2 + 2?", "answer": 4, "year": 2024})),
    "a number as the id": ("x.jsonl", lines(OWN | {"problem_id": 7})),
    "a decimal as the answer": ("x.jsonl", lines(OWN | {"answer": 0.5})),
    "a list of one answer": ("x.jsonl", lines(OWN | {"answer": ["4"]})),
    "a folder": ("x/part-0.jsonl", lines(OWN)),
    "a problem of 260 kB": ("x.jsonl", lines(OWN | {"problem": "1 + " * 65_000 + "1?"})),
}  # fmt: skip
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "UTF-16": ("x.jsonl", lines(OWN).decode().encode("utf-16"), "save it as UTF-8"),
    "Latin-1": ("x.jsonl", '{"problem": "\u00e4"}\n'.encode("latin-1"), "UTF-8"),
    "XLSX": ("x.xlsx", b"PK\x03\x04", "CSV"),
    "a comma at the end": ("x.jsonl", lines(OWN)[:-1] + b",\n", "remove the comma at its end"),
    "other columns": (
        "x.parquet", parquet({"prompt": "2 + 2?", "gold": "4", "qid": 1}),
        "`problem` is missing; its columns are prompt, gold, qid: say which is which with `columns",
    ),
    "an answer that is no number": ("x.jsonl", lines(OWN | {"answer": None}), "line 1"),
    "an empty answer": ("x.jsonl", lines(OWN | {"answer": " "}), "`answer` is empty"),
    "an id twice": ("x.jsonl", lines(OWN, OWN), "line 1"),
    "an empty file": ("x.jsonl", b"", "no problem"),
    "an empty folder": ("x/about.md", b"", "no .jsonl, .ndjson, .json, .csv, .tsv, .parquet file"),
}  # fmt: skip
ELSEWHERE = {
    "https://host/x.jsonl": "https:// is not read: download it and name the file",
    "hf:datasets/own": "did you mean hf://datasets/own?",
    "s3:bucket/x.jsonl": "did you mean s3://bucket/x.jsonl?",
    "none.jsonl": "no such file of problems",
}


def said_of(place: Path, source: str) -> Finding:
    return check_input(load("own.yaml", problems=source))[0]


def written(place: Path, name: str, data: bytes) -> str:
    file = place / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    return name.split("/")[0]


@pytest.mark.parametrize(("name", "data"), TAKEN.values(), ids=TAKEN)
def test_what_people_have_is_taken(name: str, data: bytes, place: Path) -> None:
    finding = said_of(place, written(place, name, data))
    assert finding.ok, finding.said
    assert finding.said.startswith(("1 in", "2 in"))


@pytest.mark.parametrize(("name", "data", "words"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_read_says_what_to_change(
    name: str, data: bytes, words: str, place: Path
) -> None:
    finding = said_of(place, written(place, name, data))
    assert not finding.ok
    assert words in finding.said
    assert "\n" not in str(finding)


@pytest.mark.parametrize(("source", "words"), ELSEWHERE.items(), ids=ELSEWHERE)
def test_a_place_that_is_not_read_says_which_are(source: str, words: str, place: Path) -> None:
    finding = said_of(place, source)
    assert not finding.ok
    assert words in finding.said


def test_a_problem_twice_and_an_answer_of_prose_are_said_with_the_setting_that_drops_them(
    place: Path,
) -> None:
    twice = OWN | {"problem_id": "c"}
    prose = SECOND | {"answer": "It is true since n is even and the sum of two even numbers is so"}
    finding = said_of(place, written(place, "x.jsonl", lines(OWN, twice, prose)))
    assert finding.ok
    for reason in ("repeated", "sentence"):
        assert f"1 of the problems: {reason} (the first: " in finding.said
    for setting in ("repeated", "sentences"):
        assert f"`leave_out.{setting}: drop` drops such" in finding.said
