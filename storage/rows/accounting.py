"""Checks that no item of a shard is lost: items in = items out + drops, stage by stage.

`storage.rows.kinds` defines the items of a stage's rows.

Invariant: the items that leave a stage are those that entered, less those it dropped. A dropped
item never comes back, and no item occurs twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass

from storage.rows.kinds import Record, Rows
from storage.rows.records import Drop, StateRollouts


@dataclass(frozen=True, slots=True)
class Account:
    """What one stage did with the items of one shard."""

    keys: tuple[Hashable, ...]
    """One key per row; two equal keys mean the same row twice."""
    seen: frozenset[str]
    """Items that have rows, so they must have entered."""
    carried: frozenset[str]
    """Items that entered and have a row that goes on."""
    through: frozenset[str]
    """Items that enter the next stage."""

    def ended(self, drops: Sequence[Drop]) -> frozenset[str]:
        """Items that entered and end at this stage."""
        return (self.seen | {drop.item for drop in drops}) - self.carried


def account_of(kind: Rows[Record], rows: Sequence[Record], drops: Sequence[Drop]) -> Account:
    """Read the items of a stage's rows."""
    dropped = {drop.item for drop in drops}
    came = [kind.came(row) for row in rows]
    on = [None if (name := kind.goes_on(row)) in dropped else name for row in rows]
    return Account(
        tuple(kind.key_of(row) for row in rows),
        frozenset(name for name in came if name is not None),
        frozenset(
            name for name, next_name in zip(came, on, strict=True)
            if name is not None and next_name is not None
        ),
        frozenset(name for name in on if name is not None),
    )  # fmt: skip


def contradicting(kind: Rows[Record], rows: Sequence[Record]) -> Iterator[tuple[Hashable, str]]:
    """(key, what is wrong) of every row of rollouts whose counts don't add up."""
    for row in rows:
        if isinstance(row, StateRollouts) and (trouble := row.contradiction):
            yield kind.key_of(row), trouble


def unread_by(reads: Collection[str], before: Sequence[str]) -> tuple[str, ...]:
    """The stages of `before` that follow the last one in `reads`."""
    last = max((before.index(name) for name in reads), default=0)
    return tuple(before[last + 1 :])


def problem_of(path_id: str) -> str:
    """`{problem_id}#{index}` -> problem_id."""
    return path_id.rpartition("#")[0]


def unaccounted(
    entered: frozenset[str], account: Account, drops: Sequence[Drop]
) -> Iterator[tuple[str, str]]:
    """(kind of trouble, item) for every item that is lost, doubled or unknown."""
    for key, count in Counter(account.keys).items():
        if count > 1:
            yield "row_twice", str(key)
    dropped = Counter(drop.item for drop in drops)
    for item, count in dropped.items():
        if count > 1:
            yield "dropped_twice", item
        if item not in entered:
            yield "drop_of_unknown", item
    for item in sorted(account.seen - entered):
        yield "row_of_unknown", item
    for item in sorted(entered - account.carried - dropped.keys()):
        yield "lost", item
    for item in sorted(account.carried & dropped.keys()):
        yield "dropped_yet_selected", item
