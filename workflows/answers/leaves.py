r"""Equality of two single values: by text, by exact arithmetic, or by algebra.

`decide` compares by algebra. If it is None, a verdict of None means that only algebra can decide.

Invariant: a verdict without algebra stays the same with algebra.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from workflows.answers.shapes import Leaf, read
from workflows.answers.text import NUMBER_WORDS, key, without_text
from workflows.answers.units import split_unit
from workflows.answers.values import same_digits, same_value, worth
from workflows.settings import AnswerSettings

Algebra = Callable[[str, str], bool]
"""(reference, answer) -> whether they are equal, by algebra."""

COLONS = re.compile(r"\d+(?:\s*:\s*\d+)+(?P<half>\s*[ap]\.?\s?m\.?)?", re.IGNORECASE)
BASED = re.compile(r"(?P<digits>-?[0-9A-Z]+)_\{?(?P<of>\d{1,2})\}?")
_CHOICE = re.compile(
    r"\(?([A-Z])(?:[).:]\)?\s|:)(?!.*\b(?:or|and)\b|\s*\(?[A-J]\)?$)\s*\S.*", re.DOTALL
)
_LETTER = re.compile(r"[A-J]")
_WORD = re.compile(r"(?<![\\a-zA-Z])(?:[a-z]{4,}|[A-Z][a-z]{2,}|[A-Z]{2,})(?![a-zA-Z])")


def same_leaf(
    reference: str, answer: str, settings: AnswerSettings, decide: Algebra | None
) -> bool | None:
    """Equality of two values or texts; None only if `decide` is None."""
    if key(reference) == key(answer):
        return True
    timed = [COLONS.fullmatch(without_text(text)) for text in (reference, answer)]
    if any(timed):
        return all(timed) and _clock(reference) == _clock(answer)
    expected, given = split_unit(reference), split_unit(answer)
    if expected.clashes(given) or given.clashes(expected):
        return False
    if settings.percent_equals_fraction and expected.percent != given.percent:
        whole, part = (expected, given) if expected.percent else (given, expected)
        a, b = worth(f"({whole.body})/100"), worth(part.body)
        if a is not None and b is not None and same_value(a, b):
            return True
    body, other = body_of(expected.body), body_of(given.body)
    if _LETTER.fullmatch(body) and (choice := _CHOICE.fullmatch(without_text(answer))):
        return choice[1] == body  # "(B) 12" for B
    if key(body) == key(other):
        return True
    if is_text(reference, body) or is_text(answer, other):
        return _same_text(reference, body, other)
    based, other_based = BASED.fullmatch(body), BASED.fullmatch(other)
    if based or other_based:  # 12_5: the problem names a base, so the digits must agree
        if based and other_based and based["of"] != other_based["of"]:
            return False
        if other_based and not based and other_based["of"] != "10":
            return False  # the reference 10 is not 10_2
        digits = based["digits"] if based else body
        return digits == (other_based["digits"] if other_based else other)
    a, b = worth(body), worth(other)
    verdict = same_value(a, b) if a is not None and b is not None else None
    if verdict is None:
        verdict = same_digits(body, other)
    return by_algebra(decide, body, other) if verdict is None else verdict


def _clock(text: str) -> tuple[list[int], str]:
    """(numbers between colons, `am`, `pm` or nothing) of a ratio or time: 05:00 is 5:00."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    return numbers, re.sub(r"[\d:\s.]", "", without_text(text)).casefold()


def body_of(text: str) -> str:
    """A value without text commands and outer brackets; a spelled-out number as digits."""
    bare = without_text(text).strip()
    while bare.startswith("(") and bare.endswith(")") and isinstance(inner := read(bare), Leaf):
        if inner.text == bare:
            break
        bare = inner.text
    return NUMBER_WORDS.get(bare.casefold(), bare)


def is_text(original: str, body: str) -> bool:
    """Whether a leaf is words: marked as text, or too long for a product of variables."""
    if NUMBER_WORDS.get(without_text(original).strip().casefold()) == body:
        return False
    marked = original.startswith("\\text") and re.search(r"[a-zA-Z]", body) is not None
    return marked or _WORD.search(body) is not None or "\\text" in body


def _same_text(reference: str, expected: str, given: str) -> bool:
    if reference.startswith("\\text") and key(expected).casefold() == key(given).casefold():
        return True
    choice = _CHOICE.fullmatch(given)  # "(B) 12" for B
    return choice is not None and choice[1] == expected


def by_algebra(decide: Algebra | None, reference: str, answer: str) -> bool | None:
    """The verdict of algebra; None if `decide` is None."""
    return None if decide is None else decide(reference, answer)
