r"""Equality of two shapes: same form and equal values. True, False, or None without algebra.

Values are equal by text, by exact arithmetic, or by algebra. `decide` compares by algebra. If it
is None, a verdict of None means that only algebra can decide.

Invariant: a verdict without algebra stays the same with algebra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from workflows.answers.chains import members, names_something, stated, turned_around
from workflows.answers.leaves import Algebra, by_algebra, same_leaf
from workflows.answers.sets import TURNED, intervals_of, same_set
from workflows.answers.shapes import (
    NAME,
    Group,
    Leaf,
    Listing,
    Matrix,
    Relation,
    Shape,
    Union,
    read,
    written,
)
from workflows.answers.text import key
from workflows.answers.units import split_unit
from workflows.answers.values import ratio, worth
from workflows.answers.words import denies
from workflows.settings import AnswerSettings

_MOST_ITEMS = 64


def same(a: Shape, b: Shape, settings: AnswerSettings, decide: Algebra | None) -> bool | None:
    """Equality of shapes, `a` being the reference; None only if `decide` is None."""
    sets = same_set(a, b)
    if sets is not None:
        return sets
    match a, b:
        case Leaf(), Leaf():
            return same_leaf(a.text, b.text, settings, decide)
        case Relation(), Relation():
            return _same_relation(a, b, settings, decide)
        case Relation(), _:
            return _relation_and_value(a, b, settings, decide)
        case _, Relation():
            return _value_and_relation(a, b, settings, decide)
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
            if (a.opening, a.closing) != (b.opening, b.closing) or _depths(a) != _depths(b):
                return False
            if a.ordered:
                return _all_same(a.items, b.items, settings, decide)
            return _any_order(
                _distinct(_items(a), settings), _distinct(_items(b), settings), settings, decide
            )
        case (Listing(), Listing()) | (Listing(), Leaf()) | (Leaf(), Listing()):
            if _joined_otherwise(a, b):
                return False
            return _any_order(_items(a), _items(b), settings, decide)
        case (Group(), Listing() | Leaf()) | (Listing() | Leaf(), Group()):
            group = a if isinstance(a, Group) else b
            if not isinstance(group, Group) or group.opening not in ("(", "\\{"):
                return False
            if group.closing not in (")", "\\}"):
                return False
            listed = b if a is group else a
            if [written(item).strip() for item in group.items] == ["\\emptyset"]:
                return False
            if group.ordered and (_one_name(_items(listed)) or _joint(listed) == "or"):
                return False  # x = 2, x = 5 is no point
            first, second = _by_name(_items(a)), _by_name(_items(b))
            if group.ordered:
                return _all_same(first, second, settings, decide)
            return _any_order(
                _distinct(first, settings), _distinct(second, settings), settings, decide
            )
    return False


def _depths(group: Group) -> int:
    """The number of a group's members that have brackets themselves: 1 is not {1}."""
    return sum(isinstance(item, Group) for item in group.items)


def _joint(shape: Shape) -> str:
    return shape.joint if isinstance(shape, Listing) else ","


def _joined_otherwise(a: Shape, b: Shape) -> bool:
    """Whether one list joins conditions (or several names) by *and*, and the other by *or*."""
    joints = {_joint(a), _joint(b)} - {","}
    items = [*_items(a), *_items(b)]
    conditions = any(isinstance(item, Relation) and item.signs != ("=",) for item in items)
    return len(joints) > 1 and (conditions or len(set(_names(items)) - {""}) > 1)


def _items(shape: Shape) -> Sequence[Shape]:
    r"""The members of a list or group. A list in a set (`\{\pm 2\}`) is flattened."""
    if isinstance(shape, Group) and not shape.ordered:
        return [
            inner
            for item in shape.items
            for inner in (item.items if isinstance(item, Listing) else (item,))
        ]
    return shape.items if isinstance(shape, Listing | Group) else (shape,)


def _names(items: Sequence[Shape]) -> list[str]:
    """The text before the `=` of each item; empty for an item without."""
    return [
        key(item.parts[0]) if isinstance(item, Relation) and item.signs == ("=",) else ""
        for item in items
    ]


def _one_name(items: Sequence[Shape]) -> bool:
    names = _names(items)
    return len(names) > 1 and len(set(names)) == 1 and bool(names[0])


def _by_name(items: Sequence[Shape]) -> Sequence[Shape]:
    """`y = 2, x = 1` sorted by its names, as in a pair; unchanged if not all are named."""
    names = _names(items)
    if len(set(names)) < len(items) or not all(NAME.fullmatch(name) for name in names):
        return items
    return [item for _, item in sorted(zip(names, items, strict=True), key=lambda pair: pair[0])]


def _distinct(items: Sequence[Shape], settings: AnswerSettings) -> Sequence[Shape]:
    """The members of a set without repetitions."""
    distinct: list[Shape] = []
    for item in items[: _MOST_ITEMS + 1]:
        if not any(same(earlier, item, settings, None) for earlier in distinct):
            distinct.append(item)
    return distinct


def _all_same(
    a: Sequence[Shape], b: Sequence[Shape], settings: AnswerSettings, decide: Algebra | None
) -> bool | None:
    if len(a) != len(b):
        return False
    verdicts = [same(first, second, settings, None) for first, second in zip(a, b, strict=True)]
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
    for item in a:
        verdicts = [same(item, other, settings, None) for other in unused]
        if True in verdicts:
            unused.pop(verdicts.index(True))
            continue
        maybe = [position for position, verdict in enumerate(verdicts) if verdict is None]
        if not maybe:
            return False
        if decide is None:
            unsure = True
            continue
        match = next((at for at in maybe if same(item, unused[at], settings, decide)), None)
        if match is None:
            return False
        unused.pop(match)
    return None if unsure else True


def _same_relation(
    a: Relation, b: Relation, settings: AnswerSettings, decide: Algebra | None
) -> bool | None:
    if key(a.text) == key(b.text):
        return True
    for chain in (a, b):
        if len(chain.parts) > 2 and set(chain.signs) == {"="}:
            agree = _members_agree(chain, settings, decide)
            if not agree:
                return agree
    if set(a.signs) == set(b.signs) == {"="}:
        named = [NAME.fullmatch(relation.parts[0]) for relation in (a, b)]
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
    return by_algebra(decide, a.text, b.text)


def _flipped(relation: Relation) -> Relation:
    signs = tuple(TURNED.get(sign, sign) for sign in reversed(relation.signs))
    return Relation(tuple(reversed(relation.parts)), signs, relation.text)


def _equation(a: Relation, b: Relation, decide: Algebra | None) -> bool | None:
    """Equations are equal if the differences of their sides are, up to a constant factor."""
    if len(a.parts) == len(b.parts) == 2:
        sides = [worth(f"({relation.parts[0]})-({relation.parts[1]})") for relation in (a, b)]
        if sides[0] is not None and sides[1] is not None:
            if sides[0].variables != sides[1].variables:
                return False
            if ratio(sides[0], sides[1]):
                return True
    return by_algebra(decide, a.text, b.text)


def _relation_and_value(
    a: Relation, b: Shape, settings: AnswerSettings, decide: Algebra | None
) -> bool | None:
    if set(a.signs) != {"="}:
        return _inequality_and_set(a, b, settings, decide)
    if denies(a.text):
        return False
    values = [worth(split_unit(part).body) for part in a.parts]
    if names_something(a.parts[0], 0):
        verdicts = [same(read(a.parts[-1]), b, settings, decide)]
    elif all(value and not value.variables for value in values):
        verdicts = [same(read(part), b, settings, decide) for part in a.parts]  # 0.56 = 56 %
    else:
        return False
    agree = _members_agree(a, settings, decide)
    if not agree:
        return agree
    return True if True in verdicts else None if None in verdicts else False


def _value_and_relation(
    a: Shape, b: Relation, settings: AnswerSettings, decide: Algebra | None
) -> bool | None:
    """`2 + 3 = 5` or `x = 5` for 5: compares the stated value, if all members agree."""
    if set(b.signs) != {"="}:
        return _inequality_and_set(b, a, settings, decide)
    if denies(b.text) or turned_around(b.parts[0]):
        return False
    value = stated(b)
    if value is None:
        return False
    verdict = same(a, read(value), settings, decide)
    if verdict is False:
        return False
    agree = _members_agree(b, settings, decide)
    return agree if verdict else None if agree is not False else False


def _inequality_and_set(
    relation: Relation, other: Shape, settings: AnswerSettings, decide: Algebra | None
) -> bool | None:
    r"""Compares an inequality with an interval of symbolic ends: `x \ge a` and `[a, \infty)`."""
    if not isinstance(other, Group):
        return False
    verdicts = [same(other, interval, settings, decide) for interval in intervals_of(relation)]
    return True if True in verdicts else None if None in verdicts else False


def _members_agree(
    relation: Relation, settings: AnswerSettings, decide: Algebra | None
) -> bool | None:
    """Whether all members of `x = 2 + 3 = 5` that can be compared with the last one equal it.

    A formula in other variables (`A = ab = 12`) can't be compared. A unit may be stated once.
    """
    *others, last = members(relation)
    expected = worth(split_unit(last).body)
    unsure = False
    for other in others:
        given = worth(split_unit(other).body)
        if expected is None and given is not None and not given.variables:
            return False  # 17 = Wednesday
        if expected is None or given is None:
            continue
        if given.variables and given.variables != expected.variables:
            continue
        units = split_unit(last).unit, split_unit(other).unit
        if None not in units and units[0] != units[1]:
            continue  # 1 hour = 60 minutes
        verdict = same(
            Leaf(last), Leaf(other), replace(settings, percent_equals_fraction=True), decide
        )
        if verdict is False:
            return False
        unsure = unsure or verdict is None
    return None if unsure else True
