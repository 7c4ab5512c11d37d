"""Two runs side by side: which paths differ, and in what."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from storage.errors import ConfigurationError
from storage.objects.memory import MemoryStore
from tests.support.whole_run import finished, started
from workflows.browsing.beside import DIFFERS, with_beside
from workflows.browsing.index import Index
from workflows.browsing.listing import Listing

ROW: dict[str, Any] = {
    "path_id": "p#0", "steps": 3, "length": 90, "state": "kept", "stage": "export", "reason": None,
    "first_error": 1, "judge_first_error": 1,
}  # fmt: skip


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    whole = {"reason": pl.String, "first_error": pl.Int16, "judge_first_error": pl.Int16}
    return pl.DataFrame(list(rows), schema_overrides=whole)


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({}, "same"),
        ({"path_id": "p#1"}, "absent"),
        ({"length": 91, "first_error": 2}, "solution"),
        ({"steps": 4}, "solution"),
        ({"first_error": 2, "judge_first_error": 2}, "labels"),
        ({"first_error": None}, "labels"),
        ({"judge_first_error": -1}, "judge"),
        ({"state": "dropped", "reason": "index_mismatch"}, "fate"),
        ({"stage": "consensus"}, "fate"),
    ],
)
def test_a_path_differs_by_the_first_thing_that_does(change: dict[str, Any], differs: str) -> None:
    (row,) = with_beside(frame(ROW), frame(ROW | change)).to_dicts()
    assert row["differs"] == differs
    assert differs in DIFFERS
    absent = differs == "absent"
    assert row["beside_state"] == (None if absent else (ROW | change)["state"])


def test_a_list_of_two_runs_is_narrowed_by_what_differs_and_follows_both() -> None:
    store = MemoryStore()
    run, other = finished(store), started(store, "other")
    index, second = Index(run), Index(other)
    index.fill()
    second.fill()
    listing = Listing(index, beside=second)
    total = index.frame().height
    assert dict(listing.facets({})["differs"]) == {"absent": total}
    assert listing.page({"differs": ["same", "labels"]})["total"] == 0
    again = Index(finished(store, "again"))
    listing = Listing(index, beside=again)
    assert dict(listing.facets({})["differs"]) == {"absent": total}, "nothing of it is read yet"
    again.fill()
    assert dict(listing.facets({})["differs"]) == {"same": total}
    page = listing.page({"differs": ["same"], "state": ["kept"]})
    assert {row["beside_state"] for row in page["rows"]} == {"kept"}
    assert listing.place(page["rows"][1]["path_id"], {"differs": ["same"]}) is not None


def test_what_differs_is_asked_of_two_runs_alone() -> None:
    index = Index(finished(MemoryStore()))
    index.fill()
    assert "differs" not in Listing(index).facets({})
    with pytest.raises(ConfigurationError, match="put one beside the other"):
        Listing(index).page({"differs": ["labels"]})
