r"""Equality of two single values: by text, by exact arithmetic, or by algebra.

`decide` is algebra; where it is None, the verdict None says that only algebra could tell.

Invariant: a verdict without algebra never changes when algebra is allowed.
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
"""Reference, answer -> equal: the slow way."""

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
    """Equality of two values or texts; None only where `decide` is None."""
    if key(reference) == key(answer):
        return True
    timed = [COLONS.fullmatch(without_text(text)) for text in (reference, answer)]
    if any(timed):
        return all(timed) and _clock(reference) == _clock(answer)
    wanted, given = split_unit(reference), split_unit(answer)
    if wanted.clashes(given) or given.clashes(wanted):
        return False
    if settings.percent_equals_fraction and wanted.percent != given.percent:
        whole, part = (wanted, given) if wanted.percent else (given, wanted)
        a, b = worth(f"({whole.body})/100"), worth(part.body)
        if a is not None and b is not None and same_value(a, b):
            return True
    body, other = body_of(wanted.body), body_of(given.body)
    if _LETTER.fullmatch(body) and (choice := _CHOICE.fullmatch(without_text(answer))):
        return choice[1] == body  # "(B) 12" for B
    if key(body) == key(other):
        return True
    if is_text(reference, body) or is_text(answer, other):
        return _same_text(reference, body, other)
    based, other_based = BASED.fullmatch(body), BASED.fullmatch(other)
    if based or other_based:  # 12_5: the problem asks for a base, the digits must agree
        if based and other_based and based["of"] != other_based["of"]:
            return False
        if other_based and not based and other_based["of"] != "10":
            return False  # who asks for 10 does not mean 10_2
        digits = based["digits"] if based else body
        return digits == (other_based["digits"] if other_based else other)
    a, b = worth(body), worth(other)
    verdict = same_value(a, b) if a is not None and b is not None else None
    if verdict is None:
        verdict = same_digits(body, other)
    return asked(decide, body, other) if verdict is None else verdict


def _clock(text: str) -> tuple[list[int], str]:
    """A ratio or a time of day: numbers between colons (05:00 is 5:00), a.m. or p.m."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    return numbers, re.sub(r"[\d:\s.]", "", without_text(text)).casefold()


def body_of(text: str) -> str:
    """A value without text commands and brackets around it; a number as its digits."""
    bare = without_text(text).strip()
    while bare.startswith("(") and bare.endswith(")") and isinstance(inner := read(bare), Leaf):
        if inner.text == bare:
            break
        bare = inner.text
    return NUMBER_WORDS.get(bare.casefold(), bare)


def is_text(original: str, body: str) -> bool:
    """Words, not products of variables: marked as text, or long enough to be a word."""
    if NUMBER_WORDS.get(without_text(original).strip().casefold()) == body:
        return False
    marked = original.startswith("\\text") and re.search(r"[a-zA-Z]", body) is not None
    return marked or _WORD.search(body) is not None or "\\text" in body


def _same_text(reference: str, wanted: str, given: str) -> bool:
    if reference.startswith("\\text") and key(wanted).casefold() == key(given).casefold():
        return True
    choice = _CHOICE.fullmatch(given)  # "(B) 12" for B
    return choice is not None and choice[1] == wanted


def asked(decide: Algebra | None, reference: str, answer: str) -> bool | None:
    """What algebra says; None where it may not be asked."""
    return None if decide is None else decide(reference, answer)
