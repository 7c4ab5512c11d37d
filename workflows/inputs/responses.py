"""Responses in: solutions that a verifier is asked about, from ProcessBench's files or plain rows.

    ProcessBench   id, generator, problem, steps, final_answer_correct, label; a file per subset,
                   or a column `subset`
    plain          problem, and steps (a list of texts) or solution (one text, cut into its steps
                   at its headers, or where it has none at its blank lines)

Invariant: a file with one bad row is refused whole, before anything is written, with the row's
number and what to change; every response has at least one step, none of them empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from storage.errors import InputError
from storage.rows.records import Response
from workflows.answers import read_answer
from workflows.formats import steps
from workflows.inputs.shapes import made_id, required_text
from workflows.inputs.tables import table_rows

Unheaded = Literal["blank_lines", "one_step"]
"""How a solution without step headers is cut: at its blank lines, or not at all."""

_PART = re.compile(r"-\d{5}-of-\d{5}$")
_KINDS = (".json", ".jsonl", ".parquet")


def read_responses(
    path: Path, limit: int | None = None, unheaded: Unheaded = "blank_lines"
) -> list[Response]:
    """The responses of a file, or of all files of a folder by their names.

    Raises InputError naming the file and row (1-based).
    """
    responses: list[Response] = []
    where: dict[str, str] = {}
    for response, place in islice(_responses(path, unheaded), limit):
        if response.response_id in where:
            raise InputError(
                f"{place}: id {response.response_id!r} stands also in "
                f"{where[response.response_id]}; make the ids unique"
            )
        where[response.response_id] = place
        responses.append(response)
    if not responses:
        raise InputError(f"{path}: no responses in it")
    return responses


def _responses(path: Path, unheaded: Unheaded) -> Iterator[tuple[Response, str]]:
    for file in _files(path):
        for number, (place, row) in enumerate(table_rows(file)):
            where = f"{file}, {place}"
            yield response_of(row, where, _PART.sub("", file.stem), number, unheaded), where


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix in _KINDS)
        if not found:
            raise InputError(f"{path}: no {', '.join(_KINDS)} file in this folder")
        return found
    if not path.is_file():
        raise InputError(f"{path}: no such file of responses")
    if path.suffix not in _KINDS:
        raise InputError(f"{path}: responses are read from {', '.join(_KINDS)} files")
    return [path]


def response_of(row: Any, where: str, file: str, number: int, unheaded: Unheaded) -> Response:
    """The response of row `number` of a file. Raises InputError."""
    if not isinstance(row, dict):
        raise InputError(f"{where}: must be an object with `problem`, and `steps` or `solution`")
    problem = required_text(row, "problem", where)
    parts = steps_of(row, where, unheaded)
    label = row.get("label")
    benchmark = label is not None
    if benchmark and (type(label) is not int or not -1 <= label < len(parts)):
        raise InputError(
            f"{where}: `label` must be -1 or the index of one of {len(parts)} steps, not {label!r}"
        )
    return Response(
        response_id=_name(row, "id", "response_id") or f"{file}-{number}",
        problem_id=_name(row, "problem_id") or made_id(problem),
        problem=problem,
        steps=parts,
        subset=_name(row, "subset") or (file if benchmark else ""),
        label=label,
        correct=_truth(row, where),
        answer=read_answer("\n\n".join(parts)),
        generator=_name(row, "generator"),
    )


def steps_of(row: dict[str, Any], where: str, unheaded: Unheaded) -> list[str]:
    """The steps of a row, from its `steps` or its `solution`. Raises InputError."""
    given = row.get("steps")
    if given is None:
        if row.get("solution") is None:
            others = ", ".join(map(str, row)) or "none"
            raise InputError(
                f"{where}: `steps` is missing, and so is `solution`: this is no file of "
                f"responses (its columns: {others})"
            )
        text = required_text(row, "solution", where)
        solution = steps.read(text)
        if solution.gap:
            raise InputError(
                f"{where}: `solution` lacks a header that can be read behind step "
                f"{len(solution.steps)}: give its `steps` as a list"
            )
        if not all(solution.steps):
            raise InputError(f"{where}: `solution` has an empty step: remove its header")
        if not solution.starts and unheaded == "blank_lines":
            return list(steps.blocks(text))
        return list(solution.steps)
    if not isinstance(given, list):
        raise InputError(f"{where}: `steps` must be a list of texts, not {type(given).__name__}")
    if not given:
        raise InputError(f"{where}: `steps` is an empty list: remove the row or give it a step")
    for number, step in enumerate(given, start=1):
        if not isinstance(step, str) or not step.strip():
            raise InputError(f"{where}: step {number} of {len(given)} is empty or no text")
    return list(given)


def _name(row: dict[str, Any], *names: str) -> str | None:
    """The first of some columns that says something, as text."""
    for name in names:
        if row.get(name) not in (None, ""):
            return str(row[name])
    return None


def _truth(row: dict[str, Any], where: str) -> bool | None:
    for name in ("final_answer_correct", "correct"):
        value = row.get(name)
        if value is not None:
            if not isinstance(value, bool):
                raise InputError(f"{where}: `{name}` must be true or false, not {value!r}")
            return value
    return None
