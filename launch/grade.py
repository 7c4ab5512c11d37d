"""The verb `grade`: answers compared with references, JSON lines in, JSON lines out, in order.

A line is {"response": a whole solution, or "answer": a bare answer or null, "reference": ...}; its
result is {"correct", "answer", "reference"} with both answers as they were compared.

Invariant: every line before the first bad one has its result printed, in order; memory is bounded
by one block of input.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TextIO

from actors.grader import Grader
from storage.errors import InputError
from workflows.answers import check_reference, normal, read_answer
from workflows.grading import grader as make_grader
from workflows.settings import AnswerSettings

_BLOCK = 64 * 1024
_PROGRESS_AFTER_S = 2.0


@dataclass(frozen=True, slots=True)
class Question:
    """One line of input, as it is compared."""

    reference: str
    answer: str | None


@dataclass(slots=True)
class GradeTotals:
    """What came through."""

    lines: int = 0
    correct: int = 0


def grade_stream(
    source: TextIO, sink: TextIO, settings: AnswerSettings | None = None, workers: int = 2
) -> GradeTotals:
    """Grade all lines of `source`; blank lines are skipped.

    Raises InputError, naming the line, at the first line that is not such an object or whose
    reference can't be parsed; what stands before it is graded and printed.
    """
    return asyncio.run(_grade(source, sink, settings or AnswerSettings(), workers))


async def _grade(
    source: TextIO, sink: TextIO, settings: AnswerSettings, workers: int
) -> GradeTotals:
    totals = GradeTotals()
    progress = _Progress(sys.stderr)
    grader = make_grader(settings, workers)
    blocks = _blocks(source)
    number = 0
    try:
        while block := await asyncio.to_thread(next, blocks, None):
            questions: list[Question] = []
            bad: InputError | None = None
            for line in block:
                number += 1
                if not line.strip():
                    continue
                try:
                    questions.append(read_question(line))
                except InputError as error:  # the user's: named, after what stands before it
                    bad = InputError(f"line {number}: {error}")
                    break
            await _answer(questions, sink, grader, totals)
            progress.show(totals.lines)
            if bad is not None:
                raise bad
    finally:
        progress.end()
        await grader.close()
    return totals


async def _answer(
    questions: list[Question], sink: TextIO, grader: Grader, totals: GradeTotals
) -> None:
    verdicts = await asyncio.gather(
        *(grader.grade(question.reference, [question.answer]) for question in questions)
    )
    for question, (correct,) in zip(questions, verdicts, strict=True):
        result = {
            "correct": correct, "answer": question.answer, "reference": question.reference
        }  # fmt: skip
        sink.write(json.dumps(result) + "\n")
        totals.lines += 1
        totals.correct += correct
    sink.flush()


def read_question(line: bytes) -> Question:
    """One line of input. Raises InputError that says what is wrong with it."""
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
        given = read_answer(given) if "response" in fields else normal(given)
    return Question(_reference(reference), given)


@lru_cache(maxsize=4096)
def _reference(text: str) -> str:
    check_reference(text)
    return normal(text)


def _blocks(source: TextIO) -> Iterator[list[bytes]]:
    """Lines in blocks, each as soon as the stream has it; a slow pipe gives one line at a time."""
    raw = getattr(source, "buffer", None)
    if raw is None or not hasattr(raw, "read1"):  # a stream of text, such as StringIO
        while lines := source.readlines(_BLOCK):
            yield [line.encode() for line in lines]
        return
    rest: list[bytes] = []
    while chunk := raw.read1(_BLOCK):
        *lines, last = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*rest, lines[0]])
            rest = [last]
            yield lines
        else:
            rest.append(last)
    if whole := b"".join(rest):
        yield [whole]


class _Progress:
    """A counter on stderr, on a terminal only, once it takes longer than a moment."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._started = time.monotonic()
        self._shown = False

    def show(self, lines: int) -> None:
        elapsed = time.monotonic() - self._started
        if elapsed > _PROGRESS_AFTER_S and self._stream.isatty():
            self._shown = True
            self._stream.write(f"\r{lines:,} graded, {lines / elapsed:,.0f} per second ")
            self._stream.flush()

    def end(self) -> None:
        if self._shown:
            self._stream.write("\n")
