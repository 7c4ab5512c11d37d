"""The verb `grade`: answers compared with references, JSON lines in, JSON lines out, in order.

A line is {"response": a whole solution, or "answer": a bare answer or null, "reference": ...}; its
result is {"correct", "answer", "reference"} with both answers as they were compared.

`--audit N` also prints, on standard error, up to N pairs that were judged unequal although their
numbers agree. With these a user can measure wrong verdicts on own data.

Invariant: every line before the first bad one has its result printed, in order. Memory is bounded
by a block of input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TextIO

from actors.grading.pool import Grader
from storage.errors import InputError, UnusualAnswer
from workflows.answers import check_reference, normal, read_answer
from workflows.answers.audit import Audit
from workflows.answers.grading import grader as make_grader
from workflows.settings import AnswerSettings

_BLOCK = 1 << 20
_PROGRESS_AFTER_S = 2.0


class Question(NamedTuple):
    """One line of input, with both answers as they are compared."""

    answer: str | None
    reference: str


@dataclass(slots=True)
class GradeTotals:
    """Counts over the graded lines."""

    lines: int = 0
    correct: int = 0


def grade_stream(
    source: TextIO,
    sink: TextIO,
    settings: AnswerSettings | None = None,
    workers: int = 2,
    audit: Audit | None = None,
) -> GradeTotals:
    """Grade all lines of `source`; blank lines are skipped. `audit` receives every verdict.

    Raises InputError at the first line that is no such object, after the lines before it were
    graded and printed.
    """
    began, totals = time.monotonic(), GradeTotals()
    grader = make_grader(settings or AnswerSettings(), workers)
    # Read by this thread, so that Ctrl-C ends a read that waits for a terminal.
    with asyncio.Runner() as runner:
        try:
            for questions, bad in _questions(source):
                verdicts = runner.run(_verdicts(questions, grader))
                for question, correct in zip(questions, verdicts, strict=True):
                    sink.write(json.dumps({"correct": correct, **question._asdict()}) + "\n")
                    totals.lines += 1
                    totals.correct += correct
                    if audit is not None:
                        audit.see(totals.lines, question.reference, question.answer, correct)
                sink.flush()
                rate = totals.lines / (time.monotonic() - began)
                _tell(f"\r{totals.lines:,} graded, {rate:,.0f} per second ", began)
                if bad is not None:
                    raise bad
        finally:
            _tell("\n", began)
            runner.run(grader.close())
    return totals


def show_audit(audit: Audit, totals: GradeTotals, to: TextIO) -> None:
    """Print the audit's sample of pairs, and its counts."""
    for suspect in audit.sample:
        to.write(f"{suspect.line}: {suspect.reference!r} and {suspect.answer!r} are not equal\n")
    to.write(
        f"{totals.lines:,} graded, {audit.unequal:,} judged unequal with an answer; of these "
        f"{audit.suspects:,} agree in their numbers ({len(audit.sample):,} shown)\n"
    )


async def _verdicts(questions: Sequence[Question], grader: Grader) -> list[bool]:
    graded = await asyncio.gather(
        *(grader.grade(question.reference, [question.answer]) for question in questions)
    )
    return [correct for (correct,) in graded]


def _questions(source: TextIO) -> Iterator[tuple[list[Question], InputError | None]]:
    """Yield the questions of each block; before the first bad line, with that line's error."""
    number = 0
    for block in _blocks(source):
        questions: list[Question] = []
        for line in block:
            number += 1
            try:
                if line.strip():
                    questions.append(read_question(line))
            except InputError as error:
                yield questions, InputError(f"line {number}: {error}")
                return
        yield questions, None


def read_question(line: bytes) -> Question:
    """Parse one line of input. Raises InputError that says what is wrong with it."""
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError("not JSON") from None
    if not isinstance(fields, dict):
        raise InputError("not a JSON object")
    if not isinstance(reference := fields.get("reference"), str):
        raise InputError('"reference" must be a string')
    if ("response" in fields) == ("answer" in fields):
        raise InputError('either "response" or "answer" is needed')
    given = fields.get("response", fields.get("answer"))
    if not (isinstance(given, str) or (given is None and "answer" in fields)):
        raise InputError('"response" and "answer" must be strings')
    if given is not None:
        boxed = "response" in fields or "\\boxed" in given
        given = read_answer(given) if boxed else normal(given)
    return Question(given, _reference(reference))


@lru_cache(maxsize=4096)
def _reference(text: str) -> str:
    """The reference as it is compared; an unusual one equals only its own text."""
    with contextlib.suppress(UnusualAnswer):
        check_reference(text)
    return normal(text)


def _blocks(source: TextIO) -> Iterator[list[bytes]]:
    """Yield blocks of lines as soon as the stream has them; a slow pipe gives single lines."""
    try:
        descriptor = source.fileno()
    except OSError:  # no file: StringIO
        parts = iter(lambda: source.read(_BLOCK).encode(), b"")
    else:
        parts = iter(lambda: os.read(descriptor, _BLOCK), b"")
    rest: list[bytes] = []
    for part in parts:
        lines, newline, start = part.rpartition(b"\n")
        if newline:
            yield b"".join([*rest, lines]).split(b"\n")
            rest = []
        rest.append(start)
    yield [b"".join(rest)]


def _tell(text: str, began: float) -> None:
    """Print progress on a terminal, once the work has taken `_PROGRESS_AFTER_S`."""
    if time.monotonic() - began > _PROGRESS_AFTER_S and sys.stderr.isatty():
        print(text, end="", file=sys.stderr, flush=True)
