"""The equations that a step claims, `a op b = c`, read and judged by exact arithmetic.

Invariant: what is read is never guessed. An equation in a longer chain (`1 + 2 + 3 = 6`) is none,
nor is a part of a number (`70{,}000 / 7 = 10{,}000`) or a division with a remainder, and `and`,
`or` and `xor` are operations only between 0 and 1. A claim is exact, or rounded, or false.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

_NUMBER = r"-?\d+(?:\.\d+)?"
_SIGNS = {"−": "-", "×": "*", "·": "*", "\\times": "*", "\\cdot": "*", "÷": "/", "\\div": "/"}
_APART = r"(?<![\w.,])(?<!\{,\})(?<!\\[,!])"
"""Before a number: no other part of it."""
_WHOLE = r"(?!\w|[.,]\d|\{,\}\d|,?\\[,!]\s*\d)"
"""Behind a number: no other part of it."""
_CLAIM = re.compile(
    rf"{_APART}(?<!\d[: ])({_NUMBER})\s*(\+|-|\*|/|{'|'.join(map(re.escape, _SIGNS))}|"
    rf"\bmod\b|\band\b|\bor\b|\bxor\b)\s*\$?({_NUMBER})\s*=\s*\$?({_NUMBER}){_WHOLE}"
    r"(?!:\d|[ ~]\d|!|\.?\\(?:overline|bar|dot)\b|\s*(?:\\?%|(?:percent|cents)\b|\(?\\?[pb]?mod\b"
    r"|\.\.|…|\\(?:[dt]?frac|sqrt|pi|l?dots|cdots|times|cdot|div)\b|[-+*/^×·÷−]))"
)
_REMAINDER = re.compile(
    r"[^=]{0,40}?\b(?:remainder|rem\b|r ?\d|left ?over|with \d+ (?:\w+ )?(?:left|over|remaining))",
    re.IGNORECASE,
)
"""Behind the result of a division: it is a quotient, and something is left."""
_BEFORE = re.compile(r"(?:[-+*/^×·÷−]|\\times|\\cdot|\\div|mod|and|or|xor)\s*\$?$")
_NUMBERS = re.compile(rf"{_APART}(?:(?<!\d)-)?\d+(?:\.\d+)?{_WHOLE}")
_WRITTEN = re.compile(r"(?<!\w)\d+(?:(?:,|\{,\}|,?\\[,!])\d{3})*(?:\.\d+)?")
"""A number however it is written, with or without its unit."""
_BOX = re.compile(r"\\boxed\{[^{}]*\}")
_BITS = frozenset({"and", "or", "xor"})


def _whole(left: Fraction, right: Fraction, of: Callable[[int, int], int]) -> Fraction | None:
    if left.denominator != 1 or right.denominator != 1:
        return None
    return Fraction(of(int(left), int(right)))


OPERATIONS: Mapping[str, Callable[[Fraction, Fraction], Fraction | None]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right if right else None,
    "mod": lambda left, right: _whole(left, right, lambda a, b: a % b) if right else None,
    "and": lambda left, right: _whole(left, right, lambda a, b: a & b),
    "or": lambda left, right: _whole(left, right, lambda a, b: a | b),
    "xor": lambda left, right: _whole(left, right, lambda a, b: a ^ b),
}
"""Operation -> its exact result; None where it has none."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An equation of a step."""

    left: Fraction
    op: str
    right: Fraction
    result: Fraction
    decimals: int = 0
    """Digits behind the point of the result, as it is written."""

    @property
    def value(self) -> Fraction | None:
        """What the operation really gives; None: nothing."""
        return OPERATIONS[self.op](self.left, self.right)

    @property
    def exact(self) -> bool:
        """Whether the equation holds."""
        return self.value == self.result

    @property
    def false(self) -> bool:
        """Whether it does not even hold rounded: to half a unit of the last decimal written."""
        if self.exact or self.value is None or not self.decimals:
            return not self.exact
        return abs(self.value - self.result) > Fraction(1, 2 * 10**self.decimals)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text has a claim, or a number outside of claims: its value and its characters."""

    start: int
    end: int
    claim: Claim | None = None
    spans: tuple[tuple[int, int], ...] = ()
    """Characters of left operand, operation, right operand and result."""
    number: Fraction | None = None
    boxed: bool = False


def places(text: str) -> list[Place]:
    """The claims of a text, and the numbers outside of them, in order."""
    found: list[Place] = []
    for match in _CLAIM.finditer(text):
        left, op, right, result = match.groups()
        op = _SIGNS.get(op, op)
        bits = {left, right} <= {"0", "1"}
        if (op in _BITS and not bits) or _BEFORE.search(text[: match.start()]):
            continue
        if op == "/" and _REMAINDER.match(text, match.end()):
            continue
        decimals = len(result.partition(".")[2])
        claim = Claim(Fraction(left), op, Fraction(right), Fraction(result), decimals)
        spans = tuple(match.span(group) for group in range(1, 5))
        found.append(Place(match.start(), match.end(), claim, spans))
    boxes = [match.span() for match in _BOX.finditer(text)]
    for match in _NUMBERS.finditer(text):
        if any(place.start <= match.start() < place.end for place in found if place.claim):
            continue
        boxed = any(start <= match.start() < end for start, end in boxes)
        found.append(Place(match.start(), match.end(), number=Fraction(match[0]), boxed=boxed))
    return sorted(found, key=lambda place: place.start)


def claims(text: str) -> list[Claim]:
    """The claims of a text, in order."""
    return [place.claim for place in places(text) if place.claim]


def numbers(text: str) -> set[Fraction]:
    """All numbers of a text, those of claims included."""
    return {Fraction(match[0].lstrip("-")) for match in _NUMBERS.finditer(text)} | {
        value for claim in claims(text) for value in (claim.left, claim.right, claim.result)
    }


def unread(text: str, read: Sequence[Place]) -> set[Fraction]:
    """The numbers of a text that are none of its `places`, as read: `1,200`, `12cm`."""
    found = (match for match in _WRITTEN.finditer(text)
             if not any(place.start <= match.start() < place.end for place in read))  # fmt: skip
    return {Fraction(re.sub(r"[^\d.]", "", match[0])) for match in found}


def written(value: Fraction) -> str | None:
    """A number in digits; None for one that has no end."""
    if value.denominator == 1:
        return str(value.numerator)
    scaled = value * 10**4
    if scaled.denominator != 1:
        return None
    return f"{float(value):.4f}".rstrip("0")


def in_digits(values: Sequence[Fraction], whole: bool) -> tuple[str, ...] | None:
    """Numbers in digits; None where one has no end, or is no `whole` number and should be."""
    if whole and any(value.denominator != 1 for value in values):
        return None
    words = [word for value in values if (word := written(value)) is not None]
    return tuple(words) if len(words) == len(values) else None


def put(text: str, changes: Mapping[tuple[int, int], str]) -> str:
    """The text with other words at some characters."""
    for (start, end), word in sorted(changes.items(), reverse=True):
        text = text[:start] + word + text[end:]
    return text
