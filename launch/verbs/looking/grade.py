"""The verb `grade`: answers compared with references, JSON lines in, JSON lines out, in order.

A line is {"response": a whole solution, or "answer": a bare answer or null, "reference": ...}; its
result is {"correct", "answer", "reference"} with both answers as they were compared.

`--audit N` prints besides, on standard error, up to N pairs that were judged unequal although their
numbers agree, so that a person can measure on own data what is wrongly called unequal.

Invariant: every line before the first bad one has its result printed, in order; memory is bounded
by a few blocks of input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TextIO

from actors.grading.pool import Grader
from storage.errors import InputError, UnusualAnswer
from workflows.answers import check_reference, normal, read_answer
from workflows.answers.audit import Audit
from workflows.answers.grading import grader as make_grader
from workflows.settings import AnswerSettings

_BLOCK = 64 * 1024
_AHEAD = 4
"""Blocks between what was read and what was printed."""
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
    source: TextIO,
    sink: TextIO,
    settings: AnswerSettings | None = None,
    workers: int = 2,
    audit: Audit | None = None,
) -> GradeTotals:
    """Grade all lines of `source`; blank lines are skipped. `audit` sees every verdict.

    Raises InputError, naming the line, at the first line that is not such an object or whose
    reference can't be parsed; what stands before it is graded and printed.
    """
    return asyncio.run(_grade(source, sink, settings or AnswerSettings(), workers, audit))


def show_audit(audit: Audit, totals: GradeTotals, to: TextIO) -> None:
    """Print the sample, and how many pairs it stands for."""
    for suspect in audit.sample:
        to.write(f"{suspect.line}: {suspect.reference!r} and {suspect.answer!r} are not equal\n")
    to.write(
        f"{totals.lines:,} graded, {audit.unequal:,} judged unequal with an answer; of these "
        f"{audit.suspects:,} agree in their numbers ({len(audit.sample):,} shown)\n"
    )


async def _grade(
    source: TextIO,
    sink: TextIO,
    settings: AnswerSettings,
    workers: int,
    audit: Audit | None,
) -> GradeTotals:
    totals = GradeTotals()
    progress = _Progress(sys.stderr)
    blocks: asyncio.Queue[list[bytes] | None] = asyncio.Queue()
    asked: asyncio.Queue[_Asked | None] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)
    feed = (source, asyncio.get_running_loop(), blocks, room)
    # A daemon: a read that waits for a terminal must not keep Ctrl-C from ending the command.
    threading.Thread(target=_feed, args=feed, name="grade-input", daemon=True).start()
    grader = make_grader(settings, workers)
    asking = asyncio.create_task(_ask(blocks, asked, grader))
    try:
        while (block := await asked.get()) is not None:
            for question, correct in zip(block.questions, await block.verdicts, strict=True):
                result = {
                    "correct": correct, "answer": question.answer, "reference": question.reference
                }  # fmt: skip
                sink.write(json.dumps(result) + "\n")
                totals.lines += 1
                if audit is not None:
                    audit.see(totals.lines, question.reference, question.answer, correct)
                totals.correct += correct
            sink.flush()
            room.release()
            progress.show(totals.lines)
            if block.bad is not None:
                raise block.bad
        await asking
    finally:
        asking.cancel()
        progress.end()
        await grader.close()
    return totals


@dataclass(frozen=True, slots=True)
class _Asked:
    """A block whose questions were given to the grader."""

    questions: list[Question]
    verdicts: asyncio.Task[list[bool]]
    bad: InputError | None


async def _ask(
    blocks: asyncio.Queue[list[bytes] | None], asked: asyncio.Queue[_Asked | None], grader: Grader
) -> None:
    """Give every block to the grader, up to the first bad line."""
    number = 0
    try:
        while (block := await blocks.get()) is not None:
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
            verdicts = asyncio.create_task(_verdicts(questions, grader))
            asked.put_nowait(_Asked(questions, verdicts, bad))
            if bad is not None:
                return
    finally:
        asked.put_nowait(None)


async def _verdicts(questions: list[Question], grader: Grader) -> list[bool]:
    graded = await asyncio.gather(
        *(grader.grade(question.reference, [question.answer]) for question in questions)
    )
    return [correct for (correct,) in graded]


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
        boxed = "response" in fields or "\\boxed" in given
        given = read_answer(given) if boxed else normal(given)
    return Question(_reference(reference), given)


@lru_cache(maxsize=4096)
def _reference(text: str) -> str:
    """The reference as it is compared; one that is unusual equals its own text alone."""
    with contextlib.suppress(UnusualAnswer):
        check_reference(text)
    return normal(text)


def _feed(
    source: TextIO,
    loop: asyncio.AbstractEventLoop,
    blocks: asyncio.Queue[list[bytes] | None],
    room: threading.Semaphore,
) -> None:
    """Read ahead by at most `_AHEAD` blocks, in a thread of its own."""
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants more
        for block in _blocks(source):
            room.acquire()
            loop.call_soon_threadsafe(blocks.put_nowait, block)
        loop.call_soon_threadsafe(blocks.put_nowait, None)


def _blocks(source: TextIO) -> Iterator[list[bytes]]:
    """Lines in blocks, each as soon as the stream has it; a slow pipe gives one line at a time."""
    read = _reader(source)
    rest: list[bytes] = []
    while chunk := read():
        *lines, last = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*rest, lines[0]])
            rest = [last]
            yield lines
        else:
            rest.append(last)
    if whole := b"".join(rest):
        yield [whole]


def _reader(source: TextIO) -> Callable[[], bytes]:
    """Whatever bytes there are, empty at the end; a file is read below Python's buffers.

    A thread that waits inside of a buffered reader would hold its lock while Python ends.
    """
    try:
        descriptor = source.fileno()
    except OSError:  # no file: StringIO
        return lambda: source.read(_BLOCK).encode()
    return lambda: os.read(descriptor, _BLOCK)


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
