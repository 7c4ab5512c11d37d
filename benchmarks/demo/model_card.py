"""Figures in the demo's model card, each between two marks of its own.

Invariant: nothing but what stands between the two marks is changed.
"""

from __future__ import annotations

from pathlib import Path

CARD = Path(__file__).parents[2] / "demo" / "MODEL_CARD.md"


def write_figures(name: str, text: str) -> None:
    """Put a text in the place of the figures `name`."""
    opened, closed = f"<!-- {name}: measured -->\n", f"<!-- {name}: end -->\n"
    card = CARD.read_text(encoding="utf-8")
    before, after = card.split(opened)[0], card.split(closed)[1]
    CARD.write_text(f"{before}{opened}\n{text}\n{closed}{after}", encoding="utf-8")
