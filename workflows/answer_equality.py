r"""Equality of two shapes: same form, equal values; three-valued as long as nobody asks algebra.

Values are equal by text, by exact arithmetic, or by algebra. `decide` is algebra; where it is
None, the verdict None says that only algebra could tell.

Invariant: a verdict without algebra never changes when algebra is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from workflows.answer_shapes import Group, Leaf, Listing, Matrix, Relation, Shape, Union, read
from workflows.answer_text import key, split_unit, without_text
from workflows.answer_values import ratio, same_digits, same_value, worth
from workflows.settings import AnswerSettings

Algebra = Callable[[str, str], bool]
"""Reference, answer -> equal: the slow way."""

_NAME = re.compile(
    r"(?:\\angle\s*)?(?:[a-zA-Z]{1,3}|\\[a-zA-Z]+)(?:_\{?\w+\}?)?'?(?:\((?:[a-zA-Z],?\s*)+\))?"
    r"|\((?:[a-zA-Z]\s*,?\s*)+\)"
)
COLONS = re.compile(r"\d+(?:\s*:\s*\d+)+(?P<half>\s*[ap]\.?\s?m\.?)?", re.IGNORECASE)
BASED = re.compile(r"(?P<digits>-?[0-9A-Z]+)_\{?(?P<of>\d{1,2})\}?")
_CHOICE = re.compile(r"\(?([A-Z])[).:]\)?\s*\S.*", re.DOTALL)
_WORD = re.compile(r"(?<![\\a-zA-Z])(?:[a-z]{4,}|[A-Z][a-z]{2,}|[A-Z]{2,})(?![a-zA-Z])")
_NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
         "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
         "nineteen", "twenty")
    )
}  # fmt: skip
_MOST_ITEMS = 64


def same(a: Shape, b: Shape, settings: AnswerSettings, decide: Algebra | None) -> bool | None:
    """Equality of shapes, `a` of the reference; None only where `decide` is None."""
    match a, b:
        case Leaf(), Leaf():
            return _same_leaf(a.text, b.text, settings, decide)
        case Relation(), Relation():
            return _same_relation(a, b, settings, decide)
        case Relation(), _:
            return _relation_and_value(a, b, settings, decide)
        case _, Relation() if set(b.signs) == {"="}:  # "2 + 3 = 5" for 5
            return same(a, read(b.parts[-1]), settings, decide)
        case _, Relation():
            # An inequality for an interval: math-verify knows how to turn one into the other.
            return False if not isinstance(a, Group | Union) else _ask(decide, _text(a), b.text)
        case Matrix(), Matrix():
            if a.bars != b.bars or [len(row) for row in a.rows] != [len(row) for row in b.rows]:
                return False
            return _all_same(
                [cell for row in a.rows for cell in row],
                [cell for row in b.rows for cell in row], settings, decide,
            )  # fmt: skip
        case Union(), Union():
            return _any_order(a.items, b.items, settings, decide)
        case Group(), Group():
            if (a.opening, a.closing) != (b.opening, b.closing):
                return False
            compare = _all_same if a.ordered else _any_order
            return compare(a.items, b.items, settings, decide)
        case (Listing(), Listing()) | (Listing(), Leaf()) | (Leaf(), Listing()):
            return _any_order(_items(a), _items(b), settings, decide)
        case (Group(), Listing() | Leaf()) | (Listing() | Leaf(), Group()):
            group = a if isinstance(a, Group) else b
            if not isinstance(group, Group) or group.opening not in ("(", "\\{"):
                return False
            if group.closing not in (")", "\\}"):
                return False
            compare = _all_same if group.ordered else _any_order
            return compare(_items(a), _items(b), settings, decide)
    return False


def _items(shape: Shape) -> Sequence[Shape]:
    return shape.items if isinstance(shape, Listing | Group) else (shape,)


def _all_same(
    a: Sequence[Shape], b: Sequence[Shape], settings: AnswerSettings, decide: Algebra | None
) -> bool | None:
    if len(a) != len(b):
        return False
    verdicts = [same(one, other, settings, None) for one, other in zip(a, b, strict=True)]
    if False in verdicts:
        return False
    for position, verdict in enumerate(verdicts):
        if verdict is None:
            if decide is None:
                return None
            if not same(a[position], b[position], settings, decide):
                return False
    return True


def _any_order(
    a: Sequence[Shape], b: Sequence[Shape], settings: AnswerSettings, decide: Algebra | None
) -> bool | None:
    if len(a) != len(b) or len(a) > _MOST_ITEMS:
        return False
    unused = list(b)
    unsure = False
    for one in a:
        verdicts = [same(one, other, settings, None) for other in unused]
        if True in verdicts:
            unused.pop(verdicts.index(True))
            continue
        maybe = [position for position, verdict in enumerate(verdicts) if verdict is None]
        if not maybe:
            return False
        if decide is None:
            unsure = True
            continue
        found = next((at for at in maybe if same(one, unused[at], settings, decide)), None)
        if found is None:
            return False
        unused.pop(found)
    return None if unsure else True


def _same_relation(
    a: Relation, b: Relation, settings: AnswerSettings, decide: Algebra | None
) -> bool | None:
    if key(a.text) == key(b.text):
        return True
    if set(a.signs) == set(b.signs) == {"="}:
        named = [_NAME.fullmatch(relation.parts[0]) for relation in (a, b)]
        if all(named):
            if key(a.parts[0]) != key(b.parts[0]):  # x = 5 is not y = 5
                values = [worth(relation.parts[-1]) for relation in (a, b)]
                if any(value is not None and len(value.values) == 1 for value in values):
                    return False
                return _equation(a, b, decide)
            return same(read(a.parts[-1]), read(b.parts[-1]), settings, decide)
        return _equation(a, b, decide)
    for other in (b, _flipped(b)):
        if a.signs == other.signs:
            verdict = _all_same(
                [Leaf(part) for part in a.parts],
                [Leaf(part) for part in other.parts], settings, decide,
            )  # fmt: skip
            if verdict:
                return True
    return _ask(decide, a.text, b.text)


def _flipped(relation: Relation) -> Relation:
    turned = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
    signs = tuple(turned.get(sign, sign) for sign in reversed(relation.signs))
    return Relation(tuple(reversed(relation.parts)), signs, relation.text)


def _equation(a: Relation, b: Relation, decide: Algebra | None) -> bool | None:
    """Equations are the same where the difference of their sides is, up to a constant factor."""
    if len(a.parts) == len(b.parts) == 2:
        sides = [worth(f"({relation.parts[0]})-({relation.parts[1]})") for relation in (a, b)]
        if sides[0] is not None and sides[1] is not None:
            if sides[0].variables != sides[1].variables:
                return False
            if ratio(sides[0], sides[1]):
                return True
    return _ask(decide, a.text, b.text)


def _relation_and_value(
    a: Relation, b: Shape, settings: AnswerSettings, decide: Algebra | None
) -> bool | None:
    if set(a.signs) == {"="} and _NAME.fullmatch(a.parts[0]):
        return same(read(a.parts[-1]), b, settings, decide)
    values = [worth(split_unit(part).body) for part in a.parts]
    if set(a.signs) == {"="} and all(value and not value.variables for value in values):
        verdicts = [same(read(part), b, settings, decide) for part in a.parts]  # 0.56 = 56 %
        return True if True in verdicts else None if None in verdicts else False
    if isinstance(b, Group | Union) and "=" not in a.signs:  # an inequality for an interval
        return _ask(decide, a.text, _text(b))
    return False


def _same_leaf(
    reference: str, answer: str, settings: AnswerSettings, decide: Algebra | None
) -> bool | None:
    if key(reference) == key(answer):
        return True
    if COLONS.fullmatch(without_text(reference)) or COLONS.fullmatch(without_text(answer)):
        return _clock(reference) == _clock(answer)
    wanted, given = split_unit(reference), split_unit(answer)
    if wanted.unit and given.unit and wanted.unit != given.unit:
        return False
    if settings.percent_equals_fraction and wanted.percent != given.percent:
        whole, part = (wanted, given) if wanted.percent else (given, wanted)
        a, b = worth(f"({whole.body})/100"), worth(part.body)
        if a is not None and b is not None and same_value(a, b):
            return True
    body, other = body_of(wanted.body), body_of(given.body)
    if key(body) == key(other):
        return True
    if is_text(reference, body) or is_text(answer, other):
        return _same_text(reference, body, other)
    based, other_based = BASED.fullmatch(body), BASED.fullmatch(other)
    if based or other_based:  # 12_5: the problem asks for a base, the digits must agree
        if based and other_based and based["of"] != other_based["of"]:
            return False
        digits = based["digits"] if based else body
        return digits == (other_based["digits"] if other_based else other)
    a, b = worth(body), worth(other)
    if a is not None and b is not None:
        verdict = same_value(a, b)
        if verdict is None and len(a.values) == len(b.values) == 1:
            verdict = same_digits(body, other)
        if verdict is not None:
            return verdict
    return _ask(decide, body, other)


def _clock(text: str) -> tuple[list[int], str]:
    """A ratio or a time of day: numbers between colons (05:00 is 5:00), a.m. or p.m."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    return numbers, re.sub(r"[\d:\s.]", "", without_text(text)).casefold()


def body_of(text: str) -> str:
    bare = without_text(text).strip()
    while bare.startswith("(") and bare.endswith(")") and isinstance(inner := read(bare), Leaf):
        if inner.text == bare:
            break
        bare = inner.text
    return _NUMBER_WORDS.get(bare.casefold(), bare)


def is_text(original: str, body: str) -> bool:
    """Words, not products of variables: marked as text, or long enough to be a word."""
    if _NUMBER_WORDS.get(without_text(original).strip().casefold()) == body:
        return False
    marked = original.startswith("\\text") and re.search(r"[a-zA-Z]", body) is not None
    return marked or _WORD.search(body) is not None or "\\text" in body


def _same_text(reference: str, wanted: str, given: str) -> bool:
    if reference.startswith("\\text") and key(wanted).casefold() == key(given).casefold():
        return True
    choice = _CHOICE.fullmatch(given)  # "(B) 12" for B
    return choice is not None and choice[1] == wanted


def _ask(decide: Algebra | None, reference: str, answer: str) -> bool | None:
    return None if decide is None else decide(reference, answer)


def _text(shape: Shape) -> str:
    """A shape as text again, for algebra."""
    match shape:
        case Leaf(text):
            return text
        case Group(opening, closing, items):
            return opening + ", ".join(_text(item) for item in items) + closing
        case Union(items):
            return " \\cup ".join(_text(item) for item in items)
        case Listing(items):
            return ", ".join(_text(item) for item in items)
        case Relation():
            return shape.text
        case Matrix(rows):
            body = " \\\\ ".join(" & ".join(_text(cell) for cell in row) for row in rows)
            return "\\begin{pmatrix} " + body + " \\end{pmatrix}"
