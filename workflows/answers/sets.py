r"""Sets of real numbers in a normal form: intervals, inequalities, differences, finite unions.

`x > 2`, `(2, \infty)` and `\{x \mid x > 2\}` are the same set. So are `x \ne 4`,
`\mathbb{R} \setminus \{4\}` and `(-\infty, 4) \cup (4, \infty)`. Ends are numbers, open or closed.

Invariant: two sets are equal here only if they contain the same numbers. Shapes that are no such
set give None and are compared elsewhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from workflows.answers.intervals import (
    ALL,
    HIGHEST,
    LOWEST,
    End,
    Interval,
    Numbers,
    common,
    outside,
    union,
)
from workflows.answers.shapes import Group, Leaf, Listing, Relation, Shape, Union, read, written
from workflows.answers.values import near, worth

_MOST_PARTS = 16
_VARIABLE = r"(?:[a-zA-Z]|\\(?:theta|alpha|beta|lambda|phi|mu))(?:_\{?\w+\}?)?"
_IS_VARIABLE = re.compile(_VARIABLE)
_DISTANCE = re.compile(rf"\|\s*({_VARIABLE})\s*([-+][^|a-zA-Z]+)?\|")
_BUILDER = re.compile(
    rf"\\\{{\s*({_VARIABLE})\s*(?:\\in\s*\\mathbb\{{R\}}\s*)?(?:\\mid|\||:|,)\s*(.*)\\\}}",
    re.DOTALL,
)
_LINE = re.compile(
    r"\\mathbb\s*\{?R\}?|\\text\{\s*(?:all )?real(?:s| numbers?)?\s*\}|all real(?:s| numbers?)?",
    re.IGNORECASE,
)
_HALF_LINE = re.compile(r"\\mathbb\s*\{?R\}?(?:\^|_)\{?([-+])\}?")
_EXCEPT = re.compile(
    r"(?:\\text\{\s*)?all (?:real|(?:real )?(?:numbers|values)|reals)(?:(?: of)?[ }]+[a-z])?,?"
    r"(?:\\text\{)? except(?: for)?\s*\}?\s*(.+)",
    re.IGNORECASE,
)
_WITHOUT = re.compile(
    r"\\(?:setminus|backslash)(?![a-zA-Z])|(?<=\\mathbb\{R\})\s*-|(?<=\))\s*-\s*(?=\\\{)"
)
_INFINITE = {"\\infty": math.inf, "+\\infty": math.inf, "-\\infty": -math.inf}
TURNED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le", "\\ne": "\\ne", "=": "="}


@dataclass(frozen=True, slots=True)
class RealSet:
    """The numbers of a set, and how the answer wrote it."""

    numbers: Numbers
    variable: str | None
    """The variable, if the set was written as an inequality."""
    certain: bool
    """Whether it must be a set: `(1, 2)` may be a point."""


def same_set(one: Shape, other: Shape) -> bool | None:
    """Whether two shapes are the same set of numbers; None unless both are sets."""
    if not _may_be_set(one) or not _may_be_set(other):
        return None
    first = real_set(one)
    second = real_set(other) if first is not None else None
    if first is None or second is None or not (first.certain or second.certain):
        return None
    if first.variable and second.variable and first.variable != second.variable:
        return False
    return len(first.numbers) == len(second.numbers) and all(
        a.low_in == b.low_in
        and a.high_in == b.high_in
        and a.low.order(b.low) == 0
        and a.high.order(b.high) == 0
        for a, b in zip(first.numbers, second.numbers, strict=True)
    )


def intervals_of(relation: Relation) -> list[Group]:
    r"""The intervals that an inequality may mean, also with symbolic ends: `x \ge a`."""
    parts, signs = relation.parts, relation.signs
    if not set(signs) <= {"<", ">", "\\le", "\\ge"} or len(parts) > 3:
        return []
    if len(parts) == 3:
        if signs[0] in (">", "\\ge"):
            parts, signs = parts[::-1], tuple(TURNED[sign] for sign in reversed(signs))
        if signs[1] in (">", "\\ge"):
            return []
        opening, closing = "[" if signs[0] == "\\le" else "(", "]" if signs[1] == "\\le" else ")"
        return [Group(opening, closing, (Leaf(parts[0]), Leaf(parts[2])), (",",))]
    intervals = []
    for variable, end, sign in (
        (parts[0], parts[1], signs[0]),
        (parts[1], parts[0], TURNED[signs[0]]),
    ):
        if not _IS_VARIABLE.fullmatch(variable):
            continue
        if sign in ("<", "\\le"):
            closing = "]" if sign == "\\le" else ")"
            intervals.append(Group("(", closing, (Leaf(LOWEST.text), Leaf(end)), (",",)))
        else:
            opening = "[" if sign == "\\ge" else "("
            intervals.append(Group(opening, ")", (Leaf(end), Leaf(HIGHEST.text)), (",",)))
    return intervals


def _may_be_set(shape: Shape) -> bool:
    match shape:
        case Relation(_, signs):
            return signs != ("=",)
        case Listing(items):
            return any(_may_be_set(item) for item in items)
        case Leaf(text):
            return (
                "\\mathbb" in text or "real" in text.casefold() or _WITHOUT.search(text) is not None
            )
        case Group() | Union():
            return True
    return False


def real_set(shape: Shape) -> RealSet | None:
    """The set that a shape denotes, or None."""
    match shape:
        case Relation():
            return _inequality(shape)
        case Listing(items):
            return _joined(items, shape.joint)
        case Union(items):
            sets = [real_set(item) for item in items]
            if len(sets) > _MOST_PARTS or not all(sets):
                return None
            return RealSet(union(n for each in sets if each for n in each.numbers), None, True)
        case Group():
            return _group(shape)
        case Leaf(text):
            return _leaf(text)
    return None


def _leaf(text: str) -> RealSet | None:
    if _LINE.fullmatch(text):
        return RealSet(ALL, None, True)
    half = _HALF_LINE.fullmatch(text)
    if half is not None:
        return RealSet(_beside("<" if half[1] == "-" else ">", End(0.0, "0")), None, True)
    excepted = _EXCEPT.fullmatch(text)
    if excepted is not None:
        points = _apart(read(excepted[1]))
        return _joined(points, "and") if points else None
    parts = _WITHOUT.split(text)
    if len(parts) < 2:
        return None
    sets = []
    for part in parts:
        bare = re.sub(r"^\{([^{}]*)\}$", r"\\{\1\\}", part.strip())
        sets.append(real_set(read(bare)))
    if not all(sets):
        return None
    left = [each.numbers for each in sets if each is not None]
    return RealSet(reduce(lambda a, b: common(a, outside(b)), left), None, True)


def _apart(values: Shape) -> list[Shape]:
    r"""`x \ne v` for each value v; empty if one of them is a condition."""
    listed = values.items if isinstance(values, Listing) else (values,)
    if any(isinstance(item, Relation) and item.signs != ("=",) for item in listed):
        return []
    texts = [item.parts[-1] if isinstance(item, Relation) else written(item) for item in listed]
    return [Relation(("x", text), ("\\ne",), "") for text in texts]


def _group(group: Group) -> RealSet | None:
    if group.opening == "\\{":
        built = _BUILDER.fullmatch(written(group))
        if built is not None:
            inner = real_set(read(built[2].strip()))
            return inner if inner is not None and inner.variable == built[1] else None
        ends = [_end(item) for item in group.items]
        if not ends or not all(ends):
            return None
        points = [Interval(end, end, True, True) for end in ends if end is not None]
        return RealSet(union(points), None, False)
    if len(group.items) != 2 or group.closing not in (")", "]") or group.opening not in "([":
        return None
    low, high = map(_end, group.items)
    if low is None or high is None or low.order(high) >= 0:
        return None
    infinite = math.isinf(low.value) or math.isinf(high.value)
    mixed = (group.opening == "(") != (group.closing == ")")
    low_in = group.opening == "[" and not math.isinf(low.value)
    high_in = group.closing == "]" and not math.isinf(high.value)
    return RealSet((Interval(low, high, low_in, high_in),), None, infinite or mixed)


def _end(shape: Shape) -> End | None:
    if not isinstance(shape, Leaf):
        return None
    text = shape.text.replace(" ", "")
    if text in _INFINITE:
        return End(_INFINITE[text], text.removeprefix("+"))
    value = worth(shape.text)
    number = None if value is None or value.variables else near(value.values[0])
    if number is None or abs(number.imag) > 1e-12 * max(1.0, abs(number)):
        return None
    return End(number.real, shape.text)


def _inequality(relation: Relation) -> RealSet | None:
    r"""`x < 5`, `1 < x \le 2`, `x \ne 4`, `x = 4`, `|x - 1| < 2`."""
    parts, signs = relation.parts, relation.signs
    if not set(signs) <= set(TURNED) or len(parts) > 3:
        return None
    if signs == ("\\ne",) and isinstance(ends := read(parts[1]), Listing):  # x \ne \pm 1
        return _joined([Relation((parts[0], written(end)), signs, "") for end in ends.items], "and")
    distance = _DISTANCE.fullmatch(parts[0]) if len(parts) == 2 else None
    if distance is not None:
        return _distance(distance, signs[0], parts[1])
    places = [at for at, part in enumerate(parts) if _IS_VARIABLE.fullmatch(part)]
    if len(places) != 1 or (len(parts) == 3 and places != [1]):
        return None
    numbers = ALL
    for at in range(len(signs)):
        sign = signs[at] if places[0] == at else TURNED[signs[at]]
        end = _end(Leaf(parts[at + 1 if places[0] == at else at]))
        if end is None:
            return None
        numbers = common(numbers, _beside(sign, end))
    return RealSet(numbers, parts[places[0]], set(signs) != {"="})


def _beside(sign: str, end: End) -> Numbers:
    point = (Interval(end, end, True, True),)
    match sign:
        case "=":
            return point
        case "\\ne":
            return outside(point)
        case "<" | "\\le":
            interval = Interval(LOWEST, end, False, sign == "\\le" and not math.isinf(end.value))
        case _:
            interval = Interval(end, HIGHEST, sign == "\\ge" and not math.isinf(end.value), False)
    return () if interval.empty else (interval,)


def _distance(match: re.Match[str], sign: str, radius: str) -> RealSet | None:
    """`|x - a| < r` as the set a - r < x < a + r."""
    low, high = (_end(Leaf(f"-(0{match[2] or ''}){way}({radius})")) for way in "-+")
    if (
        low is None
        or high is None
        or low.order(high) >= 0
        or sign not in ("<", "\\le", ">", "\\ge")
    ):
        return None
    within = sign in ("<", "\\le")
    ends_in = sign in ("\\le", ">")  # the complement of a closed interval is open
    inside: Numbers = (Interval(low, high, ends_in, ends_in),)
    return RealSet(inside if within else outside(inside), match[1], True)


def _joined(items: Sequence[Shape], joint: str) -> RealSet | None:
    """A list of sets: *and* means their intersection, *or* their union.

    A comma can mean both. None if the meaning is unclear. That includes a list of intervals that
    overlap or touch: such a list is never meant as a union.
    """
    first = items[0]
    if isinstance(first, Relation) and first.signs == ("\\ne",):  # x \ne -1, 1
        apart = [
            Relation((first.parts[0], item.text), first.signs, "")
            if isinstance(item, Leaf)
            else item
            for item in items
        ]
        joint = joint if apart == list(items) else "and"
        items = apart
    sets = [real_set(item) for item in items]
    known = [each for each in sets if each is not None]
    if len(known) < len(sets) or len(known) > _MOST_PARTS or not any(e.certain for e in known):
        return None
    variables = {each.variable for each in known} - {None}
    if len(variables) > 1:
        return None
    numbers = _listed([each.numbers for each in known], joint, bool(variables))
    return RealSet(numbers, next(iter(variables), None), True) if numbers else None


def _listed(sets: Sequence[Numbers], joint: str, conditions: bool) -> Numbers:
    """The numbers that a list of sets denotes, empty if unclear; `conditions`: on a variable."""
    together = union(interval for numbers in sets for interval in numbers)
    disjoint = len(together) == sum(map(len, sets))
    if joint == "or" or (disjoint and (joint == "," or not conditions)):
        return together
    if conditions and (joint == "and" or (joint == "," and together == ALL)):
        return reduce(common, sets)
    return ()
