r"""Reads the answer of a solution from its box, and decides whether it equals the reference.

Two answers are equal if they have the same shape, brackets included, and equal values in it.
Values are equal by text, by exact arithmetic, or by algebra (math-verify on sympy). `quick`
decides without algebra in tens of microseconds. `equal` may take for ever, so its caller sets a
time limit (`actors.grading.pool`).

Rules: a percent sign is a unit (50 % is 50; it is 0.5 only with `percent_equals_fraction`). A unit
is ignored if only one answer states it; two different known units make different answers. A
decimal is exactly the number it spells (0.5 = 1/2, 0.333 is not 1/3). Values without brackets have
no order. An answer may name the quantity that it states (x = 5 for 5).

Invariant: `quick` returns None or the result of `equal`. Both never raise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from storage.errors import InputError, UnusualAnswer
from workflows.answers.algebra import algebra, reads
from workflows.answers.boxes import closing_brace, final_boxes, last_box
from workflows.answers.equality import same
from workflows.answers.leaves import BASED, COLONS, Algebra, body_of, is_text
from workflows.answers.sets import real_set
from workflows.answers.shapes import Leaf, Listing, Matrix, Relation, Shape, read
from workflows.answers.text import clean, key, without_text
from workflows.answers.units import split_unit
from workflows.answers.values import near, worth
from workflows.answers.words import without_words
from workflows.settings import AnswerSettings

__all__ = ["check_reference", "equal", "last_box", "normal", "quick", "read_answer"]

_TIGHT = re.compile(r"(?<=\d),\s+(?=\d{3}(?!\d))")
_CUT_OFF = re.compile(r"[-+*/=^_<>]$|^[=*/^_]|\\frac\s*(?:\{[^{}]*\})?$|\\sqrt$")
_DECIMAL = re.compile(r"-?\d*\.(\d{2,})")
_MOST_CHARS = 1000
_MOST_BOXES = 64
"""Most boxes of a list that are compared with each other."""
_DEEPEST = 40


def read_answer(solution: str) -> str | None:
    """The answer of a solution in its normal form; None if no closed box holds one.

    Several boxes that form a list are joined as in the text, each value once.
    """
    boxes: dict[str, str] = {}
    for joint, box in final_boxes(solution):
        boxes.setdefault(normal(box), joint)
    boxes.pop("", None)
    if 1 < len(boxes) <= _MOST_BOXES:
        boxes = _each_once(boxes)
    answer = next(iter(boxes), "")
    for box, joint in islice(boxes.items(), 1, None):
        answer += f", {box}" if joint == "," else f" {joint} {box}"
    return normal(answer) or None


def _each_once(boxes: dict[str, str]) -> dict[str, str]:
    listed: dict[str, str] = {}
    for box, joint in boxes.items():
        if not any(_restates(kept, box) for kept in listed):
            listed = {kept: how for kept, how in listed.items() if not _restates(box, kept)}
            listed[box] = joint
    return listed


def _restates(one: str, other: str) -> bool:
    """Whether `other` is the value of `one`, or its rounded decimal: `2/3 or 0.67` is no list."""
    if quick(one, other, AnswerSettings()):
        return True
    decimal = _DECIMAL.fullmatch(other)
    value = worth(split_unit(one).body) if decimal else None
    number = None if value is None or value.variables else near(value.values[0])
    if decimal is None or number is None:
        return False
    return abs(number - float(other)) <= 0.6 * 10.0 ** -len(decimal[1])


def normal(answer: str) -> str:
    r"""The normal form of an answer: `10{,}000` becomes `10000`, `\dfrac12` becomes `\frac12`."""
    return clean(answer)


def quick(reference: str, answer: str, settings: AnswerSettings) -> bool | None:
    """Equality by text and exact arithmetic; None: only `equal` can decide."""
    return _equal(reference, answer, settings, None)


def equal(reference: str, answer: str, settings: AnswerSettings) -> bool:
    """Whether `answer` equals `reference`; algebra may run without a time limit."""
    return bool(_equal(reference, answer, settings, algebra))


def check_reference(answer: str) -> None:
    """Raise InputError for a broken reference: empty, cut off, with unbalanced braces.

    Raises UnusualAnswer for a reference that no answer can be compared with: too long, a case
    distinction, a list with dots, a congruence.
    """
    text = clean(answer)
    if not text:
        raise InputError("the answer is empty")
    if len(text) > _MOST_CHARS or _depth(text) > _DEEPEST:
        raise UnusualAnswer(f"the answer {answer[:40]!r}... is too long or nested too deeply")
    if not _balanced(text):
        raise InputError(f"the answer {answer!r} has unbalanced braces")
    if _CUT_OFF.search(text) or not re.search(r"\w|\\", text):
        raise InputError(f"the answer {answer!r} is cut off")
    for leaf in _leaves(read(text)):
        if not _readable(leaf):
            raise UnusualAnswer(f"the answer {answer!r} can't be parsed at {leaf!r}")


def _equal(
    reference: str, answer: str, settings: AnswerSettings, decide: Algebra | None
) -> bool | None:
    if reference == answer:
        return bool(answer.strip())
    expected, given = clean(reference), clean(answer)
    if not expected or not given:
        return False
    if key(expected) == key(given):
        return True
    if any(len(text) > _MOST_CHARS or _depth(text) > _DEEPEST for text in (expected, given)):
        return False  # so long or deep an answer equals only the same text
    verdict = same(read(expected), read(given), settings, decide)
    if verdict is not False:
        return verdict
    for first, second in _other_readings(reference, answer):
        verdict = same(read(first), read(second), settings, decide)
        if verdict is not False:
            return verdict
    # A stored answer "100200" may come from the list "100,200" in its solution.
    listed = clean(_TIGHT.sub(",", clean(reference, False)))
    return key(listed) == key(given)


def _other_readings(reference: str, answer: str) -> Iterator[tuple[str, str]]:
    """Other readings of both texts: without words around the value, or with commas as lists."""
    expected, given = clean(reference), clean(answer)
    bare = clean(without_words(expected)), clean(without_words(given))
    if bare != (expected, given):
        yield bare
        yield expected, bare[1]
    listed = clean(reference, False), clean(answer, False)
    if listed != (expected, given) and Listing in map(type, map(read, listed)):
        yield listed  # 100,200 may be a list of two


def _leaves(shape: Shape) -> list[str]:
    if real_set(shape) is not None:
        return []
    match shape:
        case Leaf(text):
            return [text]
        case Relation():
            return list(shape.parts)
        case Matrix(rows):
            return [leaf for row in rows for cell in row for leaf in _leaves(cell)]
        case _:
            return [leaf for item in shape.items for leaf in _leaves(item)]


def _readable(leaf: str) -> bool:
    quantity = split_unit(leaf)
    body = body_of(quantity.body)
    return (
        is_text(leaf, body)
        or worth(body) is not None
        or BASED.fullmatch(body) is not None
        or COLONS.fullmatch(without_text(leaf)) is not None
        or reads(body)
    )


@lru_cache(maxsize=8192)
def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _balanced(text: str) -> bool:
    """Whether braces and brackets are balanced, of any kind: `(0, 1]`, `]0, 1[`."""
    if closing_brace(text + "}", 0) != len(text):
        return False
    brackets = [character for character in text if character in "()[]"]
    opened = sum(character in "([" for character in brackets)
    outward = len(brackets) == 2 and set(brackets) <= {"[", "]"}
    return opened * 2 == len(brackets) or outward
