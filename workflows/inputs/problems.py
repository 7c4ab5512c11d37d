"""Problems in: read a file of problems and check every one.

Invariant: a file with one bad line is refused whole, before anything is written, with the line's
number and what to change. A problem whose answer is merely unusual is dropped with its reason, or
refuses the file too, as the settings say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import InputError, UnusualAnswer
from storage.rows.records import Drop, Problem

REQUIRED = ("problem_id", "problem", "answer")


class LeftOut(StrEnum):
    """Why a problem of the input is dropped; closed."""

    UNUSUAL_ANSWER = "unusual_answer"
    """Its reference can't be compared with any answer (`stages.answers.unusual`)."""


"""Reason of a drop: no answer could be compared with the problem's."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_MOST_NAMED = 20
_OPTIONAL = tuple(f.name for f in fields(Problem) if f.name not in REQUIRED)


def read_problems(path: Path) -> Iterator[Problem]:
    """The problems of a JSON lines or Parquet file, one at a time, in the file's order.

    Unknown columns are ignored. Raises InputError naming the file and line (1-based).
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of problems")
    return (_problem(row, f"{path}, {where}") for where, row in table_rows(path))


@dataclass(frozen=True, slots=True)
class Checked:
    """The problems of a file, and those that were left out."""

    problems: list[Problem]
    dropped: tuple[Drop, ...]


def checked_problems(
    path: Path, limit: int | None, check_answer: Callable[[str], None], unusual: str = "drop"
) -> Checked:
    """All problems of a file, checked.

    Problems are small (some hundred bytes), so holding them once on the driver is what makes
    "nothing half-written" possible. `check_answer` raises InputError for an answer that is broken,
    and UnusualAnswer for one that can't be compared: its problem is dropped, or under `unusual:
    refuse` is an error too. Raises InputError for an empty file, a duplicate problem_id or an empty
    field; wrong answers are named all at once.
    """
    seen: dict[str, int] = {}
    problems: list[Problem] = []
    dropped: list[Drop] = []
    wrong: list[str] = []
    for number, problem in enumerate(islice(read_problems(path), limit), start=1):
        where = f"{path}, problem {number}"
        if problem.problem_id in seen:
            raise InputError(
                f"{where}: problem_id {problem.problem_id!r} stands also at problem "
                f"{seen[problem.problem_id]}; make the ids unique"
            )
        seen[problem.problem_id] = number
        try:
            check_answer(problem.answer)
        except InputError as error:
            if isinstance(error, UnusualAnswer) and unusual == "drop":
                dropped.append(
                    Drop(problem.problem_id, LeftOut.UNUSUAL_ANSWER, f"problem {number}: {error}")
                )
            else:
                wrong.append(f"problem {number} ({problem.problem_id}): {error}")
            continue
        problems.append(problem)
    if wrong:
        more = f"; and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
        raise InputError(f"{path}, {'; '.join(wrong[:_MOST_NAMED])}{more}")
    if not problems:
        left = f" whose answer can be compared ({dropped[0].detail})" if dropped else ""
        raise InputError(f"{path}: no problems in it{left}")
    return Checked(problems, tuple(dropped))


def table_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(`line 3` or `row 3`, row) of a JSON lines or Parquet file, or of a JSON file with one list.

    Raises InputError for what can't be read.
    """
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    return _json_list(path) if path.suffix == ".json" and _is_list(path) else _json_rows(path)


def _is_list(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error}") from None


def _json_list(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: can't be read: {error}") from None
    return ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def _json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield f"line {number}", json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {number}: not JSON ({error.msg})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read: {error}") from None


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        number = 0
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: can't be read as Parquet: {error}") from None


def _problem(row: Any, where: str) -> Problem:
    if not isinstance(row, dict):
        raise InputError(f"{where}: must be an object with {', '.join(REQUIRED)}")
    name, text, answer = (required_text(row, name, where) for name in REQUIRED)
    optional = {name: None if row.get(name) is None else str(row[name]) for name in _OPTIONAL}
    return Problem(name, text, answer, **optional)


def required_text(row: Mapping[str, Any], name: str, where: str) -> str:
    """A text that a row must have. Raises InputError."""
    value = row.get(name)
    if value is None:
        raise InputError(f"{where}: `{name}` is missing")
    if not isinstance(value, str):
        raise InputError(f"{where}: `{name}` must be text, not {type(value).__name__}")
    if not value.strip():
        raise InputError(f"{where}: `{name}` is empty")
    if _SURROGATE.search(value):
        raise InputError(f"{where}: `{name}` holds half of a surrogate pair: write the character")
    return value
