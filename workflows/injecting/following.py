"""Goes on from a wrong number: every later step uses it in the place of the right one.

A number is followed by its value. What can't be told apart is not followed: a value that the
problem or an earlier step has too, and the small numbers that stand in any text.

Invariant: steps are rewritten whole or not at all. Every equation that a changed number enters is
computed anew, exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from workflows.injecting.claims import OPERATIONS, Place, places, put, written

EVERYWHERE = frozenset(map(Fraction, (0, 1, 2, 10, 100)))
"""Values that a text may use without having them from a result."""


class Follower:
    """The numbers of a solution behind an error, as its writer believes them."""

    def __init__(
        self, wrong: Fraction, right: Fraction, seen: Iterable[Fraction], *, whole: bool
    ) -> None:
        """`wrong` stands where `right` stood. `seen`: values of the problem and the steps before.

        `whole`: whether the right solution has whole numbers alone.
        """
        self._known = {*seen, right}
        self._moved = {right: wrong}
        self._shared = {*EVERYWHERE, *seen}
        self._latest = {right: wrong}
        self._whole = whole

    def follow(self, text: str) -> str | None:
        """A later text with the numbers that follow; None where that can't be told."""
        changes: dict[tuple[int, int], str] = {}
        for place in places(text):
            told = self._claimed(place) if place.claim else self._shown(place)
            if told is None:
                return None
            changes |= told
        return put(text, changes)

    def _claimed(self, place: Place) -> dict[tuple[int, int], str] | None:
        claim, (left, _, right, result) = place.claim, place.spans
        assert claim is not None
        old = (claim.left, claim.right)
        if any(value in self._moved and value in self._shared for value in old):
            return None
        if claim.left == claim.right and claim.left in self._moved:
            return None
        first, second = (self._moved.get(value, value) for value in old)
        value = claim.result if (first, second) == old else OPERATIONS[claim.op](first, second)
        words = None if value is None else self._words(first, second, value)
        if words is None or value is None:
            return None
        if claim.result in self._known and self._latest.get(claim.result, claim.result) != value:
            self._shared.add(claim.result)  # the same value from two sources, of which one moved
        if value != claim.result:
            self._moved[claim.result] = value
        self._latest[claim.result] = value
        self._known |= {claim.left, claim.right, claim.result}
        return dict(zip((left, right, result), words, strict=True))

    def _shown(self, place: Place) -> dict[tuple[int, int], str] | None:
        number = place.number
        assert number is not None
        if place.boxed:
            told = self._words(self._latest.get(number, number))
            return None if told is None else {(place.start, place.end): told[0]}
        if number in self._moved:
            told = None if number in self._shared else self._words(self._moved[number])
            return None if told is None else {(place.start, place.end): told[0]}
        return {} if number in self._known | EVERYWHERE else None

    def _words(self, *values: Fraction) -> tuple[str, ...] | None:
        if self._whole and any(value.denominator != 1 for value in values):
            return None
        words = [word for value in values if (word := written(value)) is not None]
        return tuple(words) if len(words) == len(values) else None


def followed(follower: Follower, steps: Sequence[str]) -> tuple[str, ...] | None:
    """The steps behind an error, as they follow from it; None: not to be told."""
    texts = [follower.follow(text) for text in steps]
    whole = tuple(text for text in texts if text is not None)
    return whole if len(whole) == len(texts) else None
