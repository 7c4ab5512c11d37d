"""Problems in the columns and types in which they are published, twenty rows of each.

`tests/data/README.md` says where the rows come from. AIME's problems belong to the MAA, so that
theirs are made here: sums whose answers are integers from 0 to 999, in the columns of the data
sets of the hub that people take them from.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

DATA = Path(__file__).parents[1] / "data/published"
ROWS = 20


def rows_of(name: str) -> list[dict[str, Any]]:
    """The rows of a file of `tests/data/published`."""
    text = (DATA / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _sum(number: int) -> tuple[str, int]:
    first, second = 17 * number + 3, 5 * number * number % 97
    return f"Find the remainder when ${first}^2+{second}$ is divided by $1000$.", (
        first * first + second
    ) % 1000


def _aime(columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows with these columns, of those that the tables below name."""
    rows = []
    for number in range(ROWS):
        text, answer = _sum(number)
        solution = f"We reduce it step by step, and find $\\boxed{{{answer:03d}}}$."
        paper, place = "I" if number < 15 else "II", number % 15 + 1
        every = {
            "id": 60 + number,
            "ID": f"2024-{paper}-{place}",
            "id as text": str(number),
            "problem": text,
            "Problem": text,
            "question": text,
            "Question": text,
            "problem_idx": number + 1,
            "problem_type": ["Number Theory", "Algebra"],
            "solution": solution,
            "Solution": solution,
            "answer": f"{answer:03d}",
            "Answer": answer,
            "answer as number": answer,
            "url": f"https://artofproblemsolving.com/wiki/{paper}/{place}",
            "year": "2024",
            "Year": 2024,
            "Problem Number": place,
            "Part": paper,
        }
        rows.append({name.partition(" as ")[0]: every[name] for name in columns})
    return rows


PUBLISHED: Mapping[str, tuple[str, list[dict[str, Any]]]] = {
    "HuggingFaceH4/MATH-500": ("MATH-500", rows_of("math500")),
    "openai/gsm8k": ("GSM8K", rows_of("gsm8k")),
    "HuggingFaceH4/aime_2024": (
        "AIME",
        _aime(["id", "problem", "solution", "answer", "url", "year"]),
    ),
    "Maxwell-Jia/AIME_2024": ("AIME", _aime(["ID", "Problem", "Solution", "Answer"])),
    "math-ai/aime25": ("AIME", _aime(["problem", "answer", "id as text"])),
    "MathArena/aime_2025": (
        "AIME",
        _aime(["problem_idx", "problem", "answer as number", "problem_type"]),
    ),
    "di-zhang-fdu/AIME_1983_2024": (
        "AIME",
        _aime(["ID", "Year", "Problem Number", "Question", "Answer", "Part"]),
    ),
}
"""Data set of the hub -> (what its shape is called, its rows)."""


def as_math(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """MATH-500's rows in the columns of MATH: the answer stands in the solution alone."""
    return [
        {
            "problem": row["problem"],
            "level": f"Level {row['level']}",
            "type": row["subject"],
            "solution": row["solution"],
        }
        for row in rows
    ]


def as_numina(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same in the columns of NuminaMath-CoT."""
    return [
        {
            "source": "math",
            "problem": row["problem"],
            "solution": row["solution"],
            "messages": [
                {"content": row["problem"], "role": "user"},
                {"content": row["solution"], "role": "assistant"},
            ],
        }
        for row in rows
    ]


def as_numina_1_5(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same in the columns of NuminaMath-1.5."""
    return [
        {
            "problem": row["problem"],
            "solution": row["solution"],
            "answer": row["answer"],
            "problem_type": row["subject"],
            "question_type": "math-word-problem",
            "problem_is_valid": "Yes",
            "solution_is_valid": "Yes",
            "source": "olympiads",
            "synthetic": False,
        }
        for row in rows
    ]


def as_deepscaler(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same in the columns of DeepScaleR-Preview-Dataset."""
    return [{name: row[name] for name in ("problem", "answer", "solution")} for row in rows]


def write(rows: Sequence[Mapping[str, Any]], file: Path) -> Path:
    """In the kind that the file's name says; .csv and .tsv without columns that hold lists."""
    if ".parquet" in file.name:
        pq.write_table(pa.Table.from_pylist(list(rows)), file)
    elif ".csv" in file.name or ".tsv" in file.name:
        rows = [{k: v for k, v in row.items() if not isinstance(v, list)} for row in rows]
        between = "\t" if ".tsv" in file.name else ","
        file.write_text(pl.DataFrame(rows).write_csv(separator=between))
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if file.suffix == ".gz":
        file.write_bytes(gzip.compress(file.read_bytes()))
    if file.suffix == ".zst":
        file.write_bytes(pa.compress(file.read_bytes(), codec="zstd", asbytes=True))
    return file
