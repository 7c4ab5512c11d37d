"""How much trouble a run puts up with: shares, from how many items on, and what is named."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from storage.errors import RunStopped, StoreUnavailable
from storage.rows.records import Drop
from storage.runs.commits import Receipt
from workflows.schedule.tolerance import Tolerance


def committed(shard: int, items: int, **drops: int) -> Receipt:
    return Receipt("sample", shard, items, 1, "d", "a", True, drops, {"items": items})


@pytest.mark.parametrize(
    ("drops", "items", "stops_with"),
    [
        pytest.param({"exception": 2}, 199, None, id="too few items to say anything"),
        pytest.param({"exception": 2}, 200, None, id="a hundredth is put up with"),
        pytest.param({"exception": 3}, 200, "3 of 200 items", id="more is not"),
        pytest.param({"exception": 3}, 300, None, id="a hundredth of more items"),
        pytest.param({"poison": 30}, 200, None, id="what kills has a share of its own"),
        pytest.param({"sandbox_lost": 41}, 200, "41 of 200 items", id="so have sandboxes"),
        pytest.param({"no_valid_path": 190}, 200, None, id="rules may drop whatever they like"),
        pytest.param({"exception": 11}, 50, "11 of 50 items", id="a fifth of fewer items"),
    ],
)
def test_a_run_stops_where_trouble_passes_its_share(
    drops: dict[str, int], items: int, stops_with: str | None
) -> None:
    tolerance = Tolerance()
    if stops_with is None:
        return tolerance.note(committed(0, items, **drops))
    with pytest.raises(RunStopped, match=stops_with):
        tolerance.note(committed(0, items, **drops))


def test_exceptions_of_several_shards_add_up() -> None:
    tolerance = Tolerance()
    for shard in range(4):
        tolerance.note(committed(shard, 45, exception=1))
    with pytest.raises(RunStopped, match=r"5 of 225 .*cluster\.exception_share"):
        tolerance.note(committed(4, 45, exception=1))


def test_a_share_of_one_puts_up_with_all() -> None:
    Tolerance(share=1.0, exceptions=1.0).note(committed(0, 500, exception=500))


def test_three_of_the_items_are_named_with_what_was_raised() -> None:
    def drops_of(receipt: Receipt) -> Sequence[Drop]:
        raised = [Drop(f"p{number}", "exception", f"KeyError: {number}") for number in range(9)]
        return [Drop("q", "no_valid_path"), *raised]

    with pytest.raises(RunStopped) as stopped:
        Tolerance(drops_of=drops_of).note(committed(0, 200, exception=9, no_valid_path=1))
    _, *named = str(stopped.value).splitlines()
    assert named == [f"  p{number} (exception): KeyError: {number}" for number in range(3)]


def test_a_store_that_is_away_names_none_and_the_run_stops_all_the_same() -> None:
    def drops_of(receipt: Receipt) -> Sequence[Drop]:
        raise StoreUnavailable("away")

    with pytest.raises(RunStopped, match="9 of 200 items"):
        Tolerance(drops_of=drops_of).note(committed(0, 200, exception=9))
