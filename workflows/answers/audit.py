r"""Pairs that were judged unequal but may be equal: `grade --audit` shows them to a person.

The numbers of each answer are read carelessly: without words, units, brackets and names, rounded
to floats. If the numbers of both answers agree, the pair is a suspect.

Invariant: nothing here changes a verdict.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from workflows.answers.shapes import Leaf, Matrix, Relation, Shape, read
from workflows.answers.text import clean, without_text
from workflows.answers.units import split_unit
from workflows.answers.values import near, worth
from workflows.answers.words import without_words

_CLOSE = 1e-4
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Suspect:
    """A pair that was judged unequal, and the numbers that agree."""

    line: int
    reference: str
    answer: str
    numbers: tuple[float, ...]


class Audit:
    """Counts suspects and keeps a uniform random sample of them."""

    def __init__(self, sample: int, seed: int = 0) -> None:
        self.unequal = 0
        self.suspects = 0
        self._size = sample
        self._kept: list[Suspect] = []
        self._rng = random.Random(seed)

    def see(self, line: int, reference: str, answer: str | None, correct: bool) -> None:
        """Count a verdict, and the pair if it is a suspect."""
        if correct or answer is None:
            return
        self.unequal += 1
        numbers = numbers_of(reference)
        if not numbers or not _agree(numbers, numbers_of(answer)):
            return
        self.suspects += 1
        suspect = Suspect(line, reference, answer, numbers)
        if len(self._kept) < self._size:
            self._kept.append(suspect)
        elif (place := self._rng.randrange(self.suspects)) < self._size:
            self._kept[place] = suspect

    @property
    def sample(self) -> list[Suspect]:
        """The sampled suspects, by line number."""
        return sorted(self._kept, key=lambda suspect: suspect.line)


def numbers_of(answer: str) -> tuple[float, ...]:
    """The numbers of an answer, read carelessly and sorted; may be empty."""
    return tuple(sorted(_numbers(read(without_words(clean(answer))))))


def _numbers(shape: Shape) -> list[float]:
    match shape:
        case Relation(parts):
            return _of_text(parts[-1])
        case Leaf(text):
            return _of_text(text)
        case Matrix(rows):
            items = [cell for row in rows for cell in row]
        case _:
            items = list(shape.items)
    return [number for item in items for number in _numbers(item)]


def _of_text(text: str) -> list[float]:
    body = without_text(split_unit(text).body)
    value = worth(body)
    if value is not None and not value.variables:
        number = near(value.values[0])
        return [number.real] if number is not None and abs(number.imag) < _CLOSE else []
    return [float(digits) for digits in _NUMBER.findall(body)]


def _agree(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return len(one) == len(other) and all(
        abs(a - b) <= _CLOSE * max(1.0, abs(a), abs(b)) for a, b in zip(one, other, strict=True)
    )
