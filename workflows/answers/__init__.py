r"""Whether an answer is the reference: the box of a solution, and equality that can't be fooled.

Two answers are equal where they have the same shape (brackets included) and equal values in it.
Values are equal by text, by exact arithmetic, or by algebra (math-verify on sympy). `quick`
decides without algebra and runs anywhere in tens of microseconds; `equal` may think for ever, so
whoever runs it sets a time limit (`actors.grading.pool`).

Readings that matter: a percent sign is a unit (50 % is 50, and 0.5 only where told so); a unit is
ignored where only one side states it, and two different known units are different answers; a
decimal is exactly what it spells (0.5 = 1/2, 0.333 is not 1/3); values without brackets have no
order; an answer may name what it computes (x = 5 for 5).

Invariant: `quick` is `equal` wherever it is not None, and neither ever raises.
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
"""Boxes of one list that are compared with each other."""
_DEEPEST = 40


def read_answer(solution: str) -> str | None:
    """The answer of a solution as it is compared; None where no closed box holds one.

    Several boxes that are one list are joined as they are in the text, each value once.
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
        if not any(_restates(one, box) for one in listed):
            listed = {one: how for one, how in listed.items() if not _restates(box, one)}
            listed[box] = joint
    return listed


def _restates(one: str, other: str) -> bool:
    """Whether `other` is the same value as `one`, or its decimal: `2/3 or 0.67` is no list."""
    if quick(one, other, AnswerSettings()):
        return True
    decimal = _DECIMAL.fullmatch(other)
    value = worth(split_unit(one).body) if decimal else None
    number = None if value is None or value.variables else near(value.values[0])
    if decimal is None or number is None:
        return False
    return abs(number - float(other)) <= 0.6 * 10.0 ** -len(decimal[1])


def normal(answer: str) -> str:
    r"""An answer as it is compared and stored: `10{,}000` is `10000`, `\dfrac12` is `\frac12`."""
    return clean(answer)


def quick(reference: str, answer: str, settings: AnswerSettings) -> bool | None:
    """Equality as far as text and exact arithmetic decide it; None: ask `equal`."""
    return _equal(reference, answer, settings, None)


def equal(reference: str, answer: str, settings: AnswerSettings) -> bool:
    """Whether `answer` is `reference`; may run without bound inside of algebra."""
    return bool(_equal(reference, answer, settings, algebra))


def check_reference(answer: str) -> None:
    """Raise InputError for a reference that is broken: empty, cut off, endless.

    Raises UnusualAnswer for one that no answer could ever be compared with, such as the cases of a
    function, a list with dots, a congruence.
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
    wanted, given = clean(reference), clean(answer)
    if not wanted or not given:
        return False
    if key(wanted) == key(given):
        return True
    if any(len(text) > _MOST_CHARS or _depth(text) > _DEEPEST for text in (wanted, given)):
        return False  # no answer of a person looks like this: only the same text equals it
    verdict = same(read(wanted), read(given), settings, decide)
    if verdict is not False:
        return verdict
    for one, other in _other_readings(reference, answer):
        verdict = same(read(one), read(other), settings, decide)
        if verdict is not False:
            return verdict
    # A stored answer "100200" may have been the list "100,200" in its solution.
    listed = clean(_TIGHT.sub(",", clean(reference, False)))
    return key(listed) == key(given)


def _other_readings(reference: str, answer: str) -> Iterator[tuple[str, str]]:
    """Pairs of texts that say the same with fewer words, or with commas that list."""
    wanted, given = clean(reference), clean(answer)
    bare = clean(without_words(wanted)), clean(without_words(given))
    if bare != (wanted, given):
        yield bare
        yield wanted, bare[1]
    listed = clean(reference, False), clean(answer, False)
    if listed != (wanted, given) and Listing in map(type, map(read, listed)):
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
    """Whether braces and brackets are, of whatever kind: `(0, 1]`, `]0, 1[`."""
    if closing_brace(text + "}", 0) != len(text):
        return False
    brackets = [character for character in text if character in "()[]"]
    opened = sum(character in "([" for character in brackets)
    outward = len(brackets) == 2 and set(brackets) <= {"[", "]"}
    return opened * 2 == len(brackets) or outward
