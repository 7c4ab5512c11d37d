"""Goes on from a wrong number: every later step uses it in the place of the right one.

A number is followed by its value. What can't be told apart is not followed: a value that the
problem or an earlier step has too, the small numbers that stand in any text, and a number that is
written in a way that is not read.

Invariant: steps are rewritten whole or not at all. Every equation that a changed number enters is
computed anew, exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from workflows.injecting.claims import OPERATIONS, Place, in_digits, places, put, unread

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
        read = places(text)
        if self._moved.keys() & unread(text, read):
            return None
        for place in read:
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
        words = None if value is None else in_digits((first, second, value), self._whole)
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
            value = self._latest.get(number, number)
        elif number not in self._moved:
            return {} if number in self._known | EVERYWHERE else None
        elif number in self._shared:
            return None
        else:
            value = self._moved[number]
        told = in_digits((value,), self._whole)
        return None if told is None else {(place.start, place.end): told[0]}


def followed(follower: Follower, steps: Sequence[str]) -> tuple[str, ...] | None:
    """The steps behind an error, as they follow from it; None: not to be told."""
    texts = [follower.follow(text) for text in steps]
    whole = tuple(text for text in texts if text is not None)
    return whole if len(whole) == len(texts) else None
