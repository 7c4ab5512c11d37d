"""Items in = items out + drops: what an account sees of rows, and every way to lose an item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from storage.rows.accounting import account_of, problem_of, unaccounted, unread_by
from storage.rows.kinds import PATHS, RATIONALES
from storage.rows.records import Drop, Path
from tests.support.whole_run import path, rationale

ONE, OTHER, UNUSED = path("p", 0), path("p", 1), path("p", 2, selected=False)
ENTERED = frozenset({"p", "q"})
LOST_Q = Drop("q", "no_right_path")


def troubles(
    rows: Sequence[Path], drops: Sequence[Drop], entered: frozenset[str] = ENTERED
) -> list[tuple[str, str]]:
    return list(unaccounted(entered, account_of(PATHS, rows, drops), drops))


def test_a_problem_goes_on_as_its_selected_paths_and_one_that_is_dropped_ends() -> None:
    account = account_of(PATHS, [ONE, OTHER, UNUSED], [LOST_Q])
    assert account.seen == account.carried == {"p"}
    assert account.through == {"p#0", "p#1"}
    assert account.ended([LOST_Q]) == {"q"}
    assert troubles([ONE, OTHER, UNUSED], [LOST_Q]) == []


def test_rows_of_what_is_dropped_are_kept_and_carry_nothing_on() -> None:
    drops = [Drop("p", "too_few_wrong"), LOST_Q]
    account = account_of(PATHS, [UNUSED], drops)
    assert (account.seen, account.carried, account.through) == ({"p"}, frozenset(), frozenset())
    assert account.ended(drops) == {"p", "q"}
    assert troubles([UNUSED], drops) == []


@pytest.mark.parametrize(
    ("rows", "drops", "trouble"),
    [
        pytest.param([ONE], [], ("lost", "q"), id="neither rows nor a drop"),
        pytest.param([UNUSED], [LOST_Q], ("lost", "p"), id="rows of which none goes on"),
        pytest.param([ONE, ONE], [LOST_Q], ("row_twice", "p#0"), id="a row twice"),
        pytest.param([ONE], [LOST_Q, LOST_Q], ("dropped_twice", "q"), id="a drop twice"),
        pytest.param(
            [ONE], [LOST_Q, Drop("r", "x")], ("drop_of_unknown", "r"), id="a drop of another shard"
        ),
        pytest.param(
            [ONE, path("r", 0)], [LOST_Q], ("row_of_unknown", "r"), id="a row of another shard"
        ),
        pytest.param(
            [ONE], [LOST_Q, Drop("p", "x")], ("dropped_yet_selected", "p"), id="both at once"
        ),
    ],
)
def test_each_way_to_miscount_an_item_is_named(
    rows: list[Path], drops: list[Drop], trouble: tuple[str, str]
) -> None:
    assert troubles(rows, drops) == [trouble]


def test_where_a_path_has_several_rows_the_one_that_stands_carries_it() -> None:
    stands = rationale(ONE)
    account = account_of(
        RATIONALES, [replace(stands, dropped="truncated"), replace(stands, attempt=1)], []
    )
    assert account.keys == (("p#0", 0), ("p#0", 1))
    assert account.seen == account.carried == account.through == {"p#0"}


@pytest.mark.parametrize(
    ("reads", "before", "unread"),
    [
        ([], ("sample", "estimate"), ("estimate",)),
        (["sample"], ("sample", "estimate", "label"), ("estimate", "label")),
        (["label", "sample"], ("sample", "estimate", "label"), ()),
    ],
)
def test_stages_behind_the_last_one_that_is_read_may_have_dropped_what_is_read(
    reads: list[str], before: tuple[str, ...], unread: tuple[str, ...]
) -> None:
    assert unread_by(reads, before) == unread


def test_a_problem_may_have_the_mark_in_its_own_name() -> None:
    assert problem_of("set#3/p#12") == "set#3/p"
