"""The page of all settings is what the code says."""

from __future__ import annotations

from pathlib import Path

from launch.reference import page


def test_the_page_of_settings_is_current() -> None:
    stored = (Path(__file__).parents[3] / "docs/configuration.md").read_text()
    assert stored == page(), "run: python -m launch.reference > docs/configuration.md"


def test_every_figure_of_the_page_is_filled_in() -> None:
    said = " ".join(page().split())
    assert "4,096 tokens, at most 512 (128 where that can't be told)" in said
    assert "Without a GPU `max_in_flight` is 48, and of sessions" in said
    assert "no more than 12 for each processor" in said
    assert "{gpu" not in said
