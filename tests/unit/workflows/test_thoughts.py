"""A reply is parted into thought and answer, and a draft in a thought is no answer."""

from __future__ import annotations

import pytest

from workflows.formats.thoughts import parted

REPLIES: list[tuple[str, str | None, bool, tuple[str, str]]] = [
    # text, what the server kept apart, whether the model thinks -> thought, answer
    ("<think>\nNo?\n</think>\n\nYes.", None, True, ("No?", "Yes.")),
    ("No?\n</think>\n\nYes.", None, True, ("No?", "Yes.")),
    ("No?\n</think>\n\nYes.", None, False, ("No?", "Yes.")),
    ("<think>\nNo? It", None, False, ("No? It", "")),
    ("No? It is cut", None, True, ("No? It is cut", "")),
    ("Yes.", None, False, ("", "Yes.")),
    ("Yes.", "No?", True, ("No?", "Yes.")),
    ("Yes.", "", True, ("", "Yes.")),
    ("", "No? It", True, ("No? It", "")),
    ("<think>more</think>Yes.", "No?", True, ("No?\n\nmore", "Yes.")),
    ("a </think> b </think> c", None, True, ("a </think> b", "c")),
    ("```\nno end\n</think>\nYes.", None, True, ("```\nno end", "Yes.")),
    ("Hm.\n</think>\n```\n</think>\n```\nYes.", None, True, ("Hm.", "```\n</think>\n```\nYes.")),
]


@pytest.mark.parametrize(("text", "apart", "thinks", "parts"), REPLIES)
def test_what_stands_behind_the_thought_is_the_answer(
    text: str, apart: str | None, thinks: bool, parts: tuple[str, str]
) -> None:
    assert tuple(parted(text, apart, thinks)) == parts
