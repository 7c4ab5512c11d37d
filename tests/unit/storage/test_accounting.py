"""Items in = items out + drops: every item of a shard is exactly once where it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from storage.rows.accounting import account_of, problem_of, unaccounted, unread_by
from storage.rows.kinds import Rows
from storage.rows.records import Drop


@dataclass(frozen=True, slots=True)
class Row:
    """A row that was made of `source`, or of no item, and goes on as `path_id` where it is kept."""

    path_id: str
    source: str | None
    kept: bool = True
    number: int = 0


KIND = Rows(
    "toy",
    Row,
    key=("path_id", "number"),
    made_of=lambda row: row.source,
    on=lambda row: row.path_id if row.kept else None,
)
A, B = Row("a#0", "a"), Row("b#0", "b")


def dropped(*items: str) -> list[Drop]:
    return [Drop(item, "reason") for item in items]


@pytest.mark.parametrize(("rows", "drops", "seen", "carried", "through", "ended"), [
    pytest.param([], [], "", "", "", "", id="nothing"),
    pytest.param([A], [], "a", "a", "a#0", "", id="it goes on"),
    pytest.param([A, Row("a#1", "a")], [], "a", "a", "a#0 a#1", "", id="as two"),
    pytest.param([Row("a#0", "a", kept=False)], [], "a", "", "", "a", id="stored, not kept"),
    pytest.param([A, Row("a#1", "a", kept=False)], [], "a", "a", "a#0", "", id="one of two"),
    pytest.param([Row("a#0", "a#0")], ["a#0"], "a#0", "", "", "a#0", id="stored and dropped"),
    pytest.param([], ["a"], "", "", "", "a", id="dropped unseen"),
    pytest.param([Row("a#0", None)], [], "", "", "a#0", "", id="made of no item"),
])  # fmt: skip
def test_rows_say_which_items_entered_and_which_go_on(
    rows: Sequence[Row], drops: Sequence[str], seen: str, carried: str, through: str, ended: str
) -> None:
    account = account_of(KIND, rows, dropped(*drops))
    assert account.keys == tuple((row.path_id, row.number) for row in rows)
    assert account.seen == set(seen.split())
    assert account.carried == set(carried.split())
    assert account.through == set(through.split())
    assert account.ended(dropped(*drops)) == set(ended.split())


@pytest.mark.parametrize(("entered", "rows", "drops", "said"), [
    pytest.param("a b", [A, B], [], [], id="all go on"),
    pytest.param("a b", [A], ["b"], [], id="one goes on, one is dropped"),
    pytest.param("a", [Row("a#0", "a", kept=False)], ["a"], [], id="seen, then dropped"),
    pytest.param("a", [A, Row("a#0", "a", number=1)], [], [], id="two rows of an item"),
    pytest.param("a", [A, A], [], [("row_twice", "('a#0', 0)")], id="a row twice"),
    pytest.param("a b", [A], ["b", "b"], [("dropped_twice", "b")], id="dropped twice"),
    pytest.param("a", [A], ["b"], [("drop_of_unknown", "b")], id="a drop from nowhere"),
    pytest.param("a", [A, B], [], [("row_of_unknown", "b")], id="a row from nowhere"),
    pytest.param("a b", [A], [], [("lost", "b")], id="one is nowhere"),
    pytest.param("a", [Row("a#0", "a", kept=False)], [], [("lost", "a")], id="seen, then lost"),
    pytest.param("a", [A], ["a"], [("dropped_yet_selected", "a")], id="dropped and goes on"),
    pytest.param("b a", [], [], [("lost", "a"), ("lost", "b")], id="in the order of their names"),
])  # fmt: skip
def test_an_item_that_is_not_just_once_where_it_should_be_is_named(
    entered: str, rows: Sequence[Row], drops: Sequence[str], said: list[tuple[str, str]]
) -> None:
    account = account_of(KIND, rows, dropped(*drops))
    assert list(unaccounted(frozenset(entered.split()), account, dropped(*drops))) == said


@pytest.mark.parametrize(("reads", "before", "unread"), [
    ([], ["problems"], ()),
    (["problems"], ["problems", "sample"], ("sample",)),
    (["sample"], ["problems", "sample"], ()),
    (["problems", "sample"], ["problems", "sample", "estimate", "toy"], ("estimate", "toy")),
    (["estimate", "problems"], ["problems", "sample", "estimate", "toy"], ("toy",)),
])  # fmt: skip
def test_what_stands_behind_the_last_source_is_unread(
    reads: list[str], before: list[str], unread: tuple[str, ...]
) -> None:
    assert unread_by(reads, before) == unread


@pytest.mark.parametrize(("path", "problem"), [("p#0", "p"), ("a#b#12", "a#b"), ("p", "")])
def test_a_path_names_its_problem(path: str, problem: str) -> None:
    assert problem_of(path) == problem
