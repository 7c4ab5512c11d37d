"""Parts a reply into what the model thought and what it answered.

Invariant: pure. A thought that never ends has no answer behind it: a draft in it is no verdict.
"""

from __future__ import annotations

from typing import NamedTuple

from workflows.formats.fences import masked
from workflows.formats.reading import THOUGHT_END

THOUGHT = "<think>"


class Parted(NamedTuple):
    """A reply in two parts."""

    thought: str
    """Without its tags; empty where the model did not think."""
    answer: str
    """The text behind it; empty where the thought never ended."""


def parted(text: str, apart: str | None, thinks: bool) -> Parted:
    """Part a reply. `apart`: the thought that the server kept apart; None: it keeps none apart.

    `thinks`: whether the model begins with a thought. Its chat template may have opened the
    thought, so that a text without an end of one is all thought. Of several ends the last outside
    of code counts.
    """
    at = masked(text).rfind(THOUGHT_END)
    if at < 0 and thinks:
        at = text.rfind(THOUGHT_END)  # behind a fence that the thought left open
    if at >= 0:
        inside, answer = text[:at], text[at + len(THOUGHT_END) :].lstrip()
    elif text.lstrip().startswith(THOUGHT) or (thinks and apart is None):
        inside, answer = text, ""
    else:
        return Parted(apart or "", text)
    inside = inside.strip().removeprefix(THOUGHT).strip()
    return Parted("\n\n".join(part for part in (apart, inside) if part), answer)
