"""The kinds of error that a rule puts into an equation of a right solution.

Of most kinds the equation itself is false. Of `MISPLACED` it is exact, but not the one that is due:
that the answer then comes out wrong, though every other step follows, proves the step wrong.

Invariant: an error is drawn by the given generator alone. Its step differs from the right one, and
is false by exact arithmetic or of a kind of `MISPLACED`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from workflows.injecting.claims import (
    OPERATIONS,
    Claim,
    Place,
    claims,
    in_digits,
    numbers,
    places,
    put,
)
from workflows.injecting.following import Follower, followed

Change = Callable[[Claim, random.Random], Claim | None]
"""An exact claim -> a wrong one; None where it can't be so wrong."""


def _digits(value: Fraction) -> str | None:
    return str(abs(value.numerator)) if value.denominator == 1 else None


def _swapped(value: Fraction, rng: random.Random) -> Fraction | None:
    digits = _digits(value) or ""
    at = [i for i in range(len(digits) - 1) if digits[i] != digits[i + 1]]
    if not at:
        return None
    i = rng.choice(at)
    turned = int(digits[:i] + digits[i + 1] + digits[i] + digits[i + 2 :])
    return Fraction(turned if value > 0 else -turned)


def _off_by_one(claim: Claim, rng: random.Random) -> Claim:
    return replace(claim, result=claim.result + rng.choice((-1, 1)))


def _digits_swapped(claim: Claim, rng: random.Random) -> Claim | None:
    turned = _swapped(claim.result, rng)
    return None if turned is None else replace(claim, result=turned)


def _digit_lost(claim: Claim, rng: random.Random) -> Claim | None:
    digits = _digits(claim.result) or ""
    if len(digits) < 2:
        return None
    at = rng.randrange(len(digits))
    left = int(digits[:at] + digits[at + 1 :])
    return replace(claim, result=Fraction(left if claim.result > 0 else -left))


def _place_shifted(claim: Claim, rng: random.Random) -> Claim:
    return replace(claim, result=claim.result * 10)


def _sign_lost(claim: Claim, rng: random.Random) -> Claim:
    return replace(claim, result=-claim.result)


def _base_mixed(claim: Claim, rng: random.Random) -> Claim | None:
    digits = _digits(claim.result)
    if digits is None or int(digits) < 8:
        return None
    octal = int(f"{int(digits):o}")
    return replace(claim, result=Fraction(octal if claim.result > 0 else -octal))


def _other(claim: Claim, rng: random.Random) -> tuple[str, Fraction] | None:
    among = ("and", "or", "xor") if claim.op in ("and", "or", "xor") else ("+", "-", "*", "/")
    results = [(op, OPERATIONS[op](claim.left, claim.right)) for op in among if op != claim.op]
    found = [(op, value) for op, value in results if value is not None and value != claim.result]
    return rng.choice(found) if found else None


def _operation_mistaken(claim: Claim, rng: random.Random) -> Claim | None:
    other = _other(claim, rng)
    return None if other is None else replace(claim, result=other[1])


def _operation_swapped(claim: Claim, rng: random.Random) -> Claim | None:
    other = _other(claim, rng)
    return None if other is None else replace(claim, op=other[0], result=other[1])


def _with_operand(
    claim: Claim, rng: random.Random, of: Callable[[Fraction], Fraction | None]
) -> Claim | None:
    """The claim with one operand changed, and its own exact result."""
    at_left = rng.random() < 0.5
    value = of(claim.left if at_left else claim.right)
    if value is None:
        return None
    changed = replace(claim, left=value) if at_left else replace(claim, right=value)
    return None if changed.value is None else replace(changed, result=changed.value)


def _operand_miscopied(claim: Claim, rng: random.Random) -> Claim | None:
    return _with_operand(claim, rng, lambda value: _swapped(value, rng))


def _unit_mixed(claim: Claim, rng: random.Random) -> Claim | None:
    return _with_operand(claim, rng, lambda value: value * rng.choice((60, 100, 1000)))


SKIPPED = "premise_skipped"
"""A step is left out, and what it would have changed is used as it was before."""
KINDS: Mapping[str, Change] = {
    "off_by_one": _off_by_one,
    "digits_swapped": _digits_swapped,
    "digit_lost": _digit_lost,
    "place_shifted": _place_shifted,
    "sign_lost": _sign_lost,
    "base_mixed": _base_mixed,
    "operation_mistaken": _operation_mistaken,
    "operation_swapped": _operation_swapped,
    "operand_miscopied": _operand_miscopied,
    "unit_mixed": _unit_mixed,
}
MISPLACED = frozenset({"operation_swapped", "operand_miscopied", "unit_mixed", SKIPPED})
"""Kinds whose equation is exact."""


@dataclass(frozen=True, slots=True)
class Error:
    """A right solution with one error in it."""

    kind: str
    before: tuple[str, ...]
    """The steps before the wrong one, which are right."""
    original: str
    """The right step in its place."""
    wrong: str
    behind: tuple[str, ...] | None
    """The steps behind it, where they follow from it; None: they can't be told by rule."""


def drawn(
    problem: str, steps: Sequence[str], kinds: Sequence[str], rng: random.Random
) -> Iterator[Error]:
    """The errors that a solution can have, in a drawn order: kinds first, then places."""
    found = [(step, place) for step, text in enumerate(steps) for place in places(text)
             if place.claim]  # fmt: skip
    for kind in rng.sample(list(kinds), len(kinds)):
        for step, place in rng.sample(found, len(found)):
            error = (
                _skipping(problem, steps, step, place)
                if kind == SKIPPED
                else _erring(problem, steps, step, place, kind, rng)
            )
            if error is not None:
                yield error


def _erring(
    problem: str, steps: Sequence[str], step: int, place: Place, kind: str, rng: random.Random
) -> Error | None:
    right = place.claim
    wrong = KINDS[kind](right, rng) if right and right.exact else None
    if right is None or wrong is None or wrong == right:
        return None
    if not (wrong.exact if kind in MISPLACED else wrong.false):
        return None
    before = _before(problem, steps, step, place.start)
    if kind in ("operand_miscopied", "unit_mixed"):
        new = {wrong.left, wrong.right} - {right.left, right.right}
        if not new or new & (before | numbers(steps[step])):
            return None  # the number could have been copied from somewhere
    if kind in MISPLACED and _is_known(wrong, before, right):
        return None
    text, (left, op, second, result) = steps[step], place.spans
    whole = _is_whole(steps)
    words = in_digits((wrong.left, wrong.right, wrong.result), whole)
    if words is None:
        return None
    spans = dict(zip((left, second, result), words, strict=True))
    if wrong.op != right.op:
        spans[op] = wrong.op
    changed = put(text[: place.end], spans)
    if right.result in numbers(text[: place.start]) - before:
        return None  # the step says its result before it computes it
    follower = Follower(wrong.result, right.result, before | {right.left, right.right}, whole=whole)
    rest = follower.follow(text[place.end :])
    if rest is None:
        return None
    behind = followed(follower, steps[step + 1 :])
    return Error(kind, tuple(steps[:step]), text, changed + rest, behind)


def _skipping(problem: str, steps: Sequence[str], step: int, place: Place) -> Error | None:
    """Leave a step out that claims nothing else, and use its first operand in its place."""
    right, later = place.claim, steps[step + 1 :]
    alone = sum(1 for each in places(steps[step]) if each.claim) == 1
    if right is None or not alone or right.left == right.result:
        return None
    seen = _before(problem, steps, step, place.start) | {right.left, right.right}
    follower = Follower(right.left, right.result, seen, whole=_is_whole(steps))
    told = followed(follower, later)
    at = next((at for at, text in enumerate(told or ()) if text != later[at]), None)
    if told is None or at is None or not (wrong := claims(told[at])):
        return None
    if _is_known(wrong[0], seen, right):
        return None
    return Error(SKIPPED, (*steps[:step], *told[:at]), later[at], told[at], told[at + 1 :])


def _before(problem: str, steps: Sequence[str], step: int, start: int) -> set[Fraction]:
    found = numbers(problem) | numbers(steps[step][:start])
    return found.union(*map(numbers, steps[:step]))


def _is_known(wrong: Claim, before: set[Fraction], right: Claim) -> bool:
    """Whether an exact equation may be a right one: a check, or the step that is left out."""
    return wrong.result in before or wrong.result == right.result


def _is_whole(steps: Sequence[str]) -> bool:
    return all(value.denominator == 1 for text in steps for value in numbers(text))
