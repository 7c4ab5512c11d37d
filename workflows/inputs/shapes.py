r"""Which column is which: shapes in which problems are published, and columns that a person names.

    MATH          problem, level, type, solution                    answer: the solution's last box
    MATH-500      problem, solution, answer, subject, level, unique_id
    GSM8K         question, answer                                  answer: behind its `####`
    AIME          a problem and an integer from 0 to 999, under several names
    NuminaMath    source, problem, solution, messages               answer: the last box
    NuminaMath-1.5  problem, solution, answer, problem_type, question_type, source, ...
    DeepScaleR    problem, answer, solution

Invariant: a row with problem_id, problem and answer is read by those names alone, whatever else it
holds, so that a file of Stepmill's own form means the same for ever. An id that a row does not
have is a digest of its problem's text.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Literal

from storage.errors import InputError, UnusualAnswer
from storage.rows.records import Problem
from workflows.answers import read_answer

REQUIRED = ("problem_id", "problem", "answer")
_OPTIONAL = tuple(f.name for f in fields(Problem) if f.name not in REQUIRED)
_SURROGATE = re.compile("[\ud800-\udfff]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ANNOTATION = re.compile(r"<<[^<>]*>>")
_NO_ANSWERS = frozenset({"proof", "notfound"})
"""What NuminaMath-1.5 writes where a problem asks for a proof, or has lost its answer."""
_MOST_NAMED = 12

ALIASES: Mapping[str, tuple[str, ...]] = {
    "problem_id": ("problem_id", "unique_id", "id", "problem_idx"),
    "problem": ("problem", "question"),
    "answer": ("answer",),
    "level": ("level",),
    "subject": ("subject", "type", "problem_type"),
    "source": ("source",),
    "reference_solution": ("reference_solution", "solution"),
}
"""Field of a problem -> the columns that published files have for it, in lower case."""

Field = Literal[
    "problem_id", "problem", "answer", "level", "subject", "source", "reference_solution"
]
Columns = Mapping[Field, str]
"""Field of a problem -> its column, as a person says it."""
Answer = Literal["column", "box", "hashes"]


@dataclass(frozen=True, slots=True)
class Shape:
    """How the rows of a table are read."""

    name: str
    columns: Mapping[str, str]
    """Field of a problem -> its column."""
    answer: Answer = "column"
    """As its column says, in the last box of the solution, or behind the `####` of the column."""

    def __str__(self) -> str:
        """What is said of it."""
        named = [f"{name} from `{of}`" for name, of in self.columns.items() if name != of]
        if self.answer == "box":
            named.append(f"answer from the last box of `{self.columns['reference_solution']}`")
        if self.answer == "hashes":
            named.append("answer behind `####`")
        if "problem_id" not in self.columns:
            named.append("problem_id made from its text")
        return self.name + (f" ({', '.join(named)})" if named else "")

    def read(self, row: Any) -> Problem:
        """The problem of a row. Raises InputError, and UnusualAnswer where it has no answer."""
        if not isinstance(row, Mapping):
            raise InputError(f"must be an object with {', '.join(REQUIRED)}")
        text = required_text(row, self.columns["problem"])
        optional = {name: self._optional(row, name) for name in _OPTIONAL}
        named = self.columns.get("problem_id")
        identity = made_id(text) if named is None else required_text(row, named, numbers=True)
        if self.answer == "box":
            solution = required_text(row, self.columns["reference_solution"])
            boxed = read_answer(solution)
            if boxed is None:
                raise UnusualAnswer(r"the solution has no \boxed{} answer")
            return Problem(identity, text, boxed, **optional)
        answer: str = required_text(row, self.columns["answer"], numbers=True)
        if self.answer == "hashes":
            told, found, answer = answer.rpartition("####")
            answer = _THOUSANDS.sub("", answer.strip())
            if not found or not answer:
                raise InputError(f"`{self.columns['answer']}` has no answer behind `####`")
            optional["reference_solution"] = _ANNOTATION.sub("", told).strip()
        elif answer.strip().casefold() in _NO_ANSWERS and self.name == NUMINA_1_5:
            raise UnusualAnswer(f"its answer is {answer!r}: there is none to compare with")
        return Problem(identity, text, answer, **optional)

    def _optional(self, row: Mapping[str, Any], name: str) -> str | None:
        value = value_at(row, self.columns[name]) if name in self.columns else None
        if isinstance(value, list) and self is not OWN:
            value = ", ".join(map(str, value)) or None
        return None if value is None else str(value)


OWN = Shape("Stepmill's own form", {name: name for name in (*REQUIRED, *_OPTIONAL)})
NUMINA_1_5 = "NuminaMath-1.5"


def made_id(problem: str) -> str:
    """The id of a problem whose row has none: it follows from its text."""
    return hashlib.sha256(problem.encode("utf-8", "replace")).hexdigest()[:16]


def shape_of(rows: Sequence[Any], named: Columns | None = None) -> Shape:
    """How a table is read whose first rows these are: as a person says, or by its columns.

    `named`: field of a problem -> column. Raises InputError where no row has what is needed.
    """
    objects = [row for row in rows if isinstance(row, Mapping)]
    if not objects:
        raise InputError(f"must be an object with {', '.join(REQUIRED)}")
    if named:
        return _named(objects[0], named)
    found = next(filter(None, map(_known, objects)), None)
    if found is None:
        raise InputError(_missing(objects[0]))
    return found


def problem_column(row: Mapping[str, Any]) -> str | None:
    """The column that holds a problem's text; None where no published name is among them."""
    return _aliases(row).get("problem")


def _named(row: Mapping[str, Any], named: Columns) -> Shape:
    for field, column in named.items():
        if column not in row and column.partition(".")[0] not in row:
            raise InputError(
                f"`columns.{field}` is `{column}`, which is no column: {_columns(row)}"
            )
    found = _aliases(row) | {str(field): column for field, column in named.items()}
    if "answer" not in named and "reference_solution" in named:
        found.pop("answer", None)
    if "problem" not in found or not {"answer", "reference_solution"} & found.keys():
        raise InputError(_missing(row, found))
    return Shape("the columns that are named", found, _answer(row, found))


def _answer(row: Mapping[str, Any], columns: Mapping[str, str]) -> Answer:
    if "answer" not in columns:
        return "box"
    given = value_at(row, columns["answer"])
    return "hashes" if isinstance(given, str) and "####" in given else "column"


def _aliases(row: Mapping[str, Any]) -> dict[str, str]:
    """Field -> column, as far as published names go."""
    lower: dict[str, str] = {}
    for column in row:
        lower.setdefault(str(column).casefold(), str(column))
    found = {}
    for field, names in ALIASES.items():
        known = [lower[name] for name in names if name in lower]
        if field == "problem":  # some tables number their problems in a column of that name
            known = [column for column in known if not isinstance(row[column], int)]
        if known:
            found[field] = known[0]
    return found


def _known(row: Mapping[str, Any]) -> Shape | None:
    """The shape of one row by its columns; None where they say too little."""
    if all(name in row for name in REQUIRED):
        return OWN
    columns = _aliases(row)
    if "problem" not in columns or not {"answer", "reference_solution"} & columns.keys():
        return None
    answer = _answer(row, columns)
    has = {str(name).casefold() for name in row}
    return Shape(next(name for name, fits in _NAMES if fits(row, has, columns)), columns, answer)


def _is_aime(row: Mapping[str, Any], has: set[str], columns: Mapping[str, str]) -> bool:
    try:
        number = int(row[columns["answer"]])
    except (KeyError, OverflowError, TypeError, ValueError):
        return False
    return 0 <= number <= 999 and bool({"id", "problem_idx", "year", "url"} & has)


_NAMES: Sequence[tuple[str, Callable[[Mapping[str, Any], set[str], Mapping[str, str]], bool]]] = (
    ("MATH-500", lambda row, has, of: {"unique_id", "answer", "subject", "level"} <= has),
    ("MATH", lambda row, has, of: {"level", "type"} <= has and "answer" not in has),
    ("GSM8K", lambda row, has, of: "answer" in of and _answer(row, of) == "hashes"),
    (NUMINA_1_5, lambda row, has, of: {"answer", "problem_type", "source"} <= has),
    ("NuminaMath", lambda row, has, of: {"source", "messages"} <= has and "answer" not in has),
    ("AIME", _is_aime),
    ("DeepScaleR", lambda row, has, of: has == {"problem", "answer", "solution"}),
    ("columns of known names", lambda row, has, of: True),
)
"""What a shape is called; the first that fits."""


def _missing(row: Mapping[str, Any], found: Mapping[str, str] | None = None) -> str:
    found = _aliases(row) if found is None else found
    lacking = next(name for name in ("problem", "answer") if name not in found)
    return (
        f"`{lacking}` is missing; {_columns(row)}: say which is which with "
        "`columns: {problem: …, answer: …}` (or reference_solution, whose last box is the answer)"
    )


def _columns(row: Mapping[str, Any]) -> str:
    names = [str(name) for name in row]
    more = ", …" if len(names) > _MOST_NAMED else ""
    return f"its columns are {', '.join(names[:_MOST_NAMED])}{more}"


def value_at(row: Mapping[str, Any], column: str) -> Any:
    """What a row has in a column; `a.0.b` is `b` in the first of the list that column `a` holds."""
    if column in row or "." not in column:
        return row.get(column)
    value: Any = row
    for part in column.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def required_text(row: Mapping[str, Any], name: str, where: str = "", numbers: bool = False) -> str:
    """A text that a row must have; with `numbers` a number is one too. Raises InputError."""
    said = f"{where}: " if where else ""
    value = value_at(row, name)
    if numbers:
        value = _as_text(value)
    if value is None:
        raise InputError(f"{said}`{name}` is missing")
    if not isinstance(value, str):
        raise InputError(f"{said}`{name}` must be text, not {type(value).__name__}")
    if not value.strip():
        raise InputError(f"{said}`{name}` is empty")
    if _SURROGATE.search(value):
        raise InputError(f"{said}`{name}` holds half of a surrogate pair: write the character")
    return value


def _as_text(value: Any) -> Any:
    """A number as it is written, and a list of one thing as that; anything else as it is."""
    if isinstance(value, list) and len(value) == 1:
        return _as_text(value[0])
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None  # an empty cell of a table of numbers
        return str(int(value)) if value.is_integer() else format(Decimal(repr(value)), "f")
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value) if isinstance(value, int) else value
