"""Docstrings that are drawn for a reader."""

from __future__ import annotations

from benchmarks.docstrings import drawn, public_names

NAMES = {"a.One": "First.", "a.One.two": None, "b.three": "Third."}


def test_public_names_are_sorted_and_none_is_private() -> None:
    names = public_names()
    assert list(names) == sorted(names)
    assert "storage.runs.run.Run.open" in names
    assert [name for name in names if "._" in name] == []


def test_a_seed_draws_the_same_names_again_and_another_seed_others() -> None:
    names = public_names()
    assert drawn(names, 1, 10) == drawn(names, 1, 10) != drawn(names, 2, 10)


def test_no_more_is_drawn_than_there_is() -> None:
    assert drawn(NAMES, 1, 10).keys() == NAMES.keys()
