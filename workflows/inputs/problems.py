"""Problems in: read what a person has, say how it was read, and what is wrong with which row.

    look       every row of a place, with all that can be said of it; decides nothing
    checked    what of it a build takes: the rest is dropped with its reason, or refuses the place

Invariant: nothing is written before every row was looked at; what is refused is said with file,
line and what to change; a row that is left out is counted under a reason of `LeftOut`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import Any

from storage.errors import InputError, UnusualAnswer
from storage.rows.kinds import PROBLEMS
from storage.rows.records import Drop, Problem
from workflows.inputs.hub import SCHEME, hub_file, hub_rows
from workflows.inputs.overlap import Benchmarks, key_of
from workflows.inputs.places import files_of
from workflows.inputs.shapes import OWN, Columns, Shape, problem_column, shape_of
from workflows.inputs.tables import NotARow, Rows, file_rows
from workflows.settings.inputs import LeaveOutSettings

_LOOKED_AT = 200
"""First rows of a table of which one must say what its columns are."""
_MOST_NAMED = 20
_WORD = re.compile(r"(?<![\\\w])[^\W\d_]{2,}")
_SENTENCE = 6
"""Words that make an answer a sentence."""


class LeftOut(StrEnum):
    """Why a problem of the input is dropped; closed."""

    UNUSUAL_ANSWER = "unusual_answer"
    """Its reference can't be compared with any answer, or it has none: a proof, a solution without
    a box (`stages.answers.unusual`)."""
    WRONG_ROW = "wrong_row"
    """Its row can't be read, lacks the problem or the answer, or has a broken answer or the id of
    an earlier one (`leave_out.wrong`)."""
    REPEATED = "repeated"
    """An earlier problem has its text (`leave_out.repeated`)."""
    SENTENCE = "sentence"
    """Its reference is a sentence, to which hardly any answer is equal (`leave_out.sentences`)."""
    CONTAMINATED = "contaminated"
    """It stands in a benchmark, or shares 13 words in a row with it (`leave_out.against`)."""


@dataclass(frozen=True, slots=True)
class Found:
    """A row for which there is a reason to leave it out."""

    item: str
    """Its problem_id, or its place where it has none."""
    place: str
    reason: LeftOut
    said: str

    def __str__(self) -> str:
        """One line."""
        item = "" if self.item == self.place else f" ({self.item})"
        return f"{self.place}{item}: {self.said}"


@dataclass(slots=True)
class Looked:
    """A place of problems, as it is."""

    source: str
    rows: int = 0
    read_as: list[str] = field(default_factory=list)
    """`FILE: how its columns were read`, a line for each file."""
    problems: list[Problem] = field(default_factory=list)
    """Those that can be used, repeated and contaminated ones among them."""
    places: list[str] = field(default_factory=list)
    """Where each of them stands."""
    refused: list[Found] = field(default_factory=list)
    """Rows that are no problem, or whose answer can't be compared."""
    doubtful: list[Found] = field(default_factory=list)
    """Problems that are repeated, contaminated, or whose answer is a sentence."""

    def counts(self) -> dict[str, int]:
        """Reason -> rows."""
        found = Counter(str(one.reason) for one in (*self.refused, *self.doubtful))
        return dict(sorted(found.items()))

    def without(self, reasons: Iterable[LeftOut]) -> list[Problem]:
        """The problems of which none of these is said."""
        chosen = frozenset(reasons)
        gone = {one.place for one in self.doubtful if one.reason in chosen}
        pairs = zip(self.places, self.problems, strict=True)
        return [problem for place, problem in pairs if place not in gone]


@dataclass(frozen=True, slots=True)
class Checked:
    """The problems that a build takes, and those that it leaves out."""

    problems: list[Problem]
    dropped: tuple[Drop, ...]
    said: tuple[str, ...] = ()
    """How it was read and what is doubtful, a line each."""


def look(
    source: str | Path,
    check_answer: Callable[[str], None],
    *,
    limit: int | None = None,
    columns: Columns | None = None,
    against: Sequence[str] = (),
    on_row: Callable[[int], None] = lambda rows: None,
) -> Looked:
    """Read all rows of a place, the first `limit` of them where it is given.

    `check_answer` raises InputError for an answer that is broken, and UnusualAnswer for one that
    can't be compared. Raises InputError for a place that can't be read.
    """
    benchmarks = Benchmarks({name: _texts(name) for name in against})
    looked = Looked(str(source))
    check = _once(check_answer)
    ids = Ids()
    texts: dict[str, str] = {}

    for place, row, shape in islice(_rows(str(source), columns, looked.read_as), limit):
        looked.rows += 1
        on_row(looked.rows)
        item = place
        try:
            problem = _problem(row, shape, ids, place)
            item = problem.problem_id
            check(problem.answer)
        except InputError as error:
            unusual = isinstance(error, UnusualAnswer)
            reason = LeftOut.UNUSUAL_ANSWER if unusual else LeftOut.WRONG_ROW
            looked.refused.append(Found(item, place, reason, str(error)))
            continue
        looked.problems.append(problem)
        looked.places.append(place)
        doubts: list[tuple[LeftOut, str]] = []
        if (before := texts.setdefault(key_of(problem.problem), place)) != place:
            doubts.append((LeftOut.REPEATED, f"has the text of {before}"))
        if is_sentence(problem.answer):
            doubts.append((LeftOut.SENTENCE, f"the answer is a sentence: {problem.answer!r}"))
        if (shared := benchmarks.shared(problem.problem)) is not None:
            doubts.append((LeftOut.CONTAMINATED, str(shared)))
        looked.doubtful += [Found(item, place, reason, said) for reason, said in doubts]
    return looked


def checked_problems(
    source: str | Path,
    limit: int | None,
    check_answer: Callable[[str], None],
    unusual: str = "drop",
    *,
    columns: Columns | None = None,
    leave_out: LeaveOutSettings | None = None,
) -> Checked:
    """What a build takes of a place. Raises InputError as `look`, and for what is to be refused.

    Problems are small (some hundred bytes): the driver holds them once, so that nothing is
    half-written.
    """
    wanted = leave_out or LeaveOutSettings()
    against = wanted.against
    looked = look(source, check_answer, limit=limit, columns=columns, against=against)
    dropping = {LeftOut.CONTAMINATED}
    dropping |= {LeftOut.UNUSUAL_ANSWER} if unusual == "drop" else set()
    dropping |= {LeftOut.WRONG_ROW} if wanted.wrong == "drop" else set()
    dropping |= {LeftOut.REPEATED} if wanted.repeated == "drop" else set()
    dropping |= {LeftOut.SENTENCE} if wanted.sentences == "drop" else set()
    if refused := [found for found in looked.refused if found.reason not in dropping]:
        raise InputError(f"{source}, {_listed(refused, '; ')}{_remedy(refused, looked)}")
    gone = [found for found in (*looked.refused, *looked.doubtful) if found.reason in dropping]
    problems = looked.without(dropping)
    if not problems:
        left = f" that can be used ({gone[0]})" if gone else ""
        raise InputError(f"{source}: no problems in it{left}")
    first: dict[str, Found] = {}
    for found in gone:
        first.setdefault(found.item, found)
    dropped = tuple(Drop(name, found.reason, str(found)) for name, found in first.items())
    kept = [found for found in looked.doubtful if found.reason not in dropping]
    return Checked(problems, dropped, (*looked.read_as, *_notes(gone, "dropped"), *_notes(kept)))


def read_problems(source: str | Path) -> Iterator[Problem]:
    """The problems of a place, one at a time. Raises InputError at the first row that is none."""
    ids = Ids()
    for place, row, shape in _rows(str(source), None, []):
        try:
            problem = _problem(row, shape, ids, place)
        except InputError as error:
            raise InputError(f"{source}, {place}: {error}") from None
        yield problem


def is_sentence(answer: str) -> bool:
    """Whether an answer is prose, which only the same letters are equal to."""
    return len(_WORD.findall(answer)) >= _SENTENCE


class Ids:
    """The ids of a place, each with the row that has it."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}
        self._copies: Counter[str] = Counter()

    def take(self, name: str, place: str) -> None:
        """The id that a row says. Raises InputError where another has it."""
        if name in self._places:
            before = self._places[name]
            raise InputError(f"problem_id {name!r} stands also at {before}; make the ids unique")
        self._places[name] = place

    def free(self, made: str, place: str) -> str:
        """An id that was made of a row's text: copies of a text count up."""
        name = made
        while name in self._places:
            self._copies[made] += 1
            name = f"{made}-{self._copies[made] + 1}"
        self._places[name] = place
        return name


def _problem(row: Any, shape: Shape, ids: Ids, place: str) -> Problem:
    """The problem of a row, its id one that no other has. Raises InputError."""
    if isinstance(row, NotARow):
        raise InputError(row.said)
    problem = shape.read(row)
    if "problem_id" in shape.columns:
        ids.take(problem.problem_id, place)
        return problem
    return replace(problem, problem_id=ids.free(problem.problem_id, place))


def _once(check_answer: Callable[[str], None]) -> Callable[[str], None]:
    """The same check, which looks at every answer once: most are small numbers."""
    known: dict[str, InputError | None] = {}

    def check(answer: str) -> None:
        if answer not in known:
            known[answer] = None
            try:
                check_answer(answer)
            except InputError as error:
                known[answer] = error
        if (found := known[answer]) is not None:
            raise found

    return check


def tables_of(source: str, what: str = PROBLEMS.stage) -> Iterator[tuple[str, str, Rows]]:
    """(name, what its places begin with, rows) of every table of a place. Raises InputError."""
    file = hub_file(source) if source.startswith(SCHEME) else None
    if source.startswith(SCHEME) and file is None:
        name, rows = hub_rows(source)
        yield name, "", rows
        return
    files = files_of(source, what) if file is None else [file]
    for file in files:
        inside = file.name.removeprefix(source.partition("?")[0]).lstrip("/")
        yield file.name, f"{inside}, " if len(files) > 1 else "", file_rows(file)


def _rows(
    source: str, columns: Columns | None, read_as: list[str]
) -> Iterator[tuple[str, Any, Shape]]:
    """(place, row, how it is read); appends to `read_as` what is said of each table."""
    for name, prefix, rows in tables_of(source):
        first = list(islice(rows, _LOOKED_AT))
        given = [row for _, row in first if not isinstance(row, NotARow)]
        try:
            shape = shape_of(given, columns) if given else OWN
        except InputError as error:
            raise InputError(f"{name}, {first[0][0]}: {error}") from None
        if shape is not OWN:
            read_as.append(f"{name}: read as {shape}")
        for place, row in chain(first, rows):
            yield prefix + place, row, shape


def _texts(source: str) -> Iterator[str]:
    """The texts of a benchmark's problems, whatever else it has."""
    texts = 0
    for _, _, rows in tables_of(source):
        for _, row in rows:
            column = problem_column(row) if isinstance(row, Mapping) else None
            if column is not None and row[column]:
                texts += 1
                yield str(row[column])
    if not texts:
        raise InputError(f"{source}: no row of this benchmark has a `problem` or a `question`")


def _listed(found: Sequence[Found], between: str) -> str:
    more = f"{between}and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return between.join(map(str, found[:_MOST_NAMED])) + more


def _remedy(refused: Sequence[Found], looked: Looked) -> str:
    """What to do about rows that refuse a place of which the rest is good."""
    if not looked.problems:
        return ""
    wrong = any(found.reason == LeftOut.WRONG_ROW for found in refused)
    setting = "leave_out.wrong" if wrong else "stages.answers.unusual"
    return f" (mend them, or set `{setting}: drop`)"


def _notes(found: Sequence[Found], what: str = "") -> Iterator[str]:
    """A line for each reason: how many, and the first of them."""
    for reason, number in Counter(one.reason for one in found).items():
        first = next(one for one in found if one.reason == reason)
        settings = {LeftOut.REPEATED: "repeated", LeftOut.SENTENCE: "sentences"}
        told = f"{what} {number:,} as {reason}" if what else f"{number:,} of the problems: {reason}"
        to_do = "" if what else f"; `leave_out.{settings[reason]}: drop` drops such"
        yield f"{told} (the first: {first}){to_do}"
