"""Whether every item of a shard is somewhere: items in = items out + drops, stage by stage.

An item is a problem until stage `sample`, a path from there on; where responses are scored it is a
response. A stage may store rows of an item
that it drops (what it saw was paid for); such an item goes no further.

Invariant: what goes on from a stage is exactly what entered it, less what it dropped; an item that
was dropped never comes back, and none is there twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from storage.rows.records import Drop


@dataclass(frozen=True, slots=True)
class Account:
    """What one stage did with the items of one shard."""

    keys: tuple[Hashable, ...]
    """One per row; two equal ones are the same row twice."""
    seen: frozenset[str]
    """Items that must have entered, for they have rows."""
    through: frozenset[str]
    """Items that go on."""


def account_of(stage: str, rows: Sequence[Any], drops: Sequence[Drop]) -> Account:
    """Read the items of a stage's rows."""
    dropped = {drop.item for drop in drops}
    if stage == "problems":
        ids = [row.problem_id for row in rows]
        return Account(tuple(ids), frozenset(ids), frozenset(ids))
    if stage == "sample":
        seen = frozenset(row.problem_id for row in rows)
        through = frozenset(row.path_id for row in rows if row.selected)
        return Account(tuple(row.path_id for row in rows), seen, through)
    if stage in ("responses", "score", "critiques", "refine"):
        ids = [row.response_id for row in rows]
        histories = [(row.response_id, row.history) for row in rows] if stage == "score" else ids
        return Account(tuple(histories), frozenset(ids), frozenset(ids) - dropped)
    if stage == "search":
        leaves = frozenset(row.node_id for row in rows if row.leaf)
        grown = frozenset(row.node_id for row in rows if row.leaf and "r" not in _own(row.node_id))
        return Account(tuple(row.node_id for row in rows), grown, leaves - dropped)
    keys: Iterable[Hashable] = (row.path_id for row in rows)
    if stage in ("estimate", "prover"):
        keys = ((row.path_id, row.state, row.round) for row in rows)
    if stage == "rationalize":
        keys = ((row.path_id, row.attempt) for row in rows)
    if stage == "judge":
        keys = ((row.path_id, row.prompt, row.sees, row.number, row.round) for row in rows)
    seen = frozenset(row.path_id for row in rows)
    through = seen
    if stage in ("consensus", "retry"):
        through = frozenset(row.path_id for row in rows if row.kept)
    return Account(tuple(keys), seen, frozenset(path for path in through if path not in dropped))


def _own(path_id: str) -> str:
    """What follows the problem in a path's id; rollouts of a tree have an `r` in it."""
    return path_id.rpartition("#")[2]


def problem_of(path_id: str) -> str:
    """`{problem_id}#{index}` -> problem_id."""
    return path_id.rpartition("#")[0]


def unaccounted(
    stage: str, entered: frozenset[str], account: Account, drops: Sequence[Drop]
) -> Iterator[tuple[str, str]]:
    """(kind of trouble, item) for every item that is not exactly once where it should be."""
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
    on = {problem_of(path) for path in account.through} if stage == "sample" else account.seen
    for item in sorted(entered - on - dropped.keys()):
        yield "lost", item
    if stage == "sample":
        for item in sorted(on & dropped.keys()):
            yield "dropped_yet_selected", item
