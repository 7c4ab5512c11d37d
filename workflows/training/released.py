"""Conversations that others made in GenPRM's form, as examples that can be trained on.

A row has a column `conversations` alone, as GenPRM-MATH-Data has. What an example says besides is
read from its turns: labels from the judgements, executions from code and the output behind it. A
problem is named after the first paragraph of its first turn, since nothing says where a problem
ends and the first step begins.

Invariant: a row is an example whose every turn has the form's parts and a boxed verdict, or is
counted as `bad_format`; its texts are not changed.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from storage.errors import InputError, ItemError
from storage.objects.store import ObjectStore
from storage.rows.parquet import check_digest
from storage.rows.records import CodeRun, Example, Message
from workflows.formats.conversation import Reason, verdict_of
from workflows.formats.executed import pieces
from workflows.inputs.tables import table_rows
from workflows.labels.rule import first_error

SUFFIXES = (".parquet", ".jsonl", ".json")


def stored_key(training: str, path: str, digest: str) -> str:
    """Where the file that a training is made of lies in its store."""
    return f"trainings/{training}/dataset/{digest}{Path(path).suffix}"


def file_of(path: str) -> bytes:
    """The bytes of a file of conversations. Raises InputError."""
    if Path(path).suffix not in SUFFIXES:
        raise InputError(f"conversations {path} is no {', '.join(SUFFIXES)} file")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"conversations {path} can't be read: {error.strerror}") from None


def stored_rows(store: ObjectStore, key: str) -> Iterator[Any]:
    """The rows of a stored file. Raises NothingFound, ObjectCorrupt, InputError."""
    data = store.get(key)
    check_digest(key, data, Path(key).stem)
    with tempfile.NamedTemporaryFile(suffix=Path(key).suffix) as file:
        file.write(data)
        file.flush()
        for _, row in table_rows(Path(file.name)):
            yield row


def example_from(row: Any, number: int) -> Example:
    """Row `number` of a file as an example. Raises ItemError `bad_format`."""
    try:
        turns = [Message(str(turn["role"]), str(turn["content"])) for turn in row["conversations"]]
    except (TypeError, KeyError):
        raise ItemError(Reason.BAD_FORMAT, f"row {number} has no `conversations`") from None
    answers = [turn.content for turn in turns if turn.role == "assistant"]
    verdicts = [verdict_of(text) for text in answers]
    labels = [verdict for verdict in verdicts if verdict is not None]
    roles = [turn.role for turn in turns if turn.role != "system"]
    if not answers or len(labels) < len(answers) or roles != ["user", "assistant"] * len(answers):
        raise ItemError(Reason.BAD_FORMAT, f"row {number} is not in GenPRM's form")
    asked = next(turn.content for turn in turns if turn.role == "user")
    problem = hashlib.sha256(asked.partition("\n\n")[0].encode()).hexdigest()[:16]
    return Example(
        conversations=turns,
        problem_id=problem,
        path_id=f"{problem}#{number}",
        labels=labels,
        first_error=first_error(labels),
        mc=[],
        executions=[run for step, text in enumerate(answers) for run in _runs(step, text)],
        policy="",
        completer="",
        rationale_writer="",
        run="",
    )


def _runs(step: int, text: str) -> Iterator[CodeRun]:
    """What a turn shows as executed."""
    code = ""
    for piece in pieces(text):
        if piece.code is not None:
            code = piece.code
        elif piece.labelled:
            yield CodeRun(step, code, piece.output, "ok", 0.0, 0.0)
