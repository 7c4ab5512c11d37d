"""A problem and a solution's steps as tokens, for models that read a solution and write nothing.

    chat template of (user: problem), opened answer | step, separator | step, separator | ...

Invariant: each step is spelt by itself, so that its tokens do not depend on what follows: a step's
reward is the same whether the solution ends behind it or goes on. Training and reading share this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors.engines.contract import Chat
from actors.engines.rendering import ChatRenderer
from storage.rows.records import Message


@dataclass(frozen=True, slots=True)
class Passage:
    """A problem and the T steps of a solution."""

    problem: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spelt:
    """A passage as tokens."""

    ids: list[int]
    begins: int
    """Index of the first token of the first step."""
    ends: list[int]
    """T indices: the last token of each step, its separator's."""


def spelt(renderer: ChatRenderer, problem: str, steps: Sequence[str], separator: str) -> Spelt:
    """The tokens of a passage. Raises ItemError `control_token`."""
    ids = list(renderer.tokens(Chat((Message("user", problem),))))
    begins, ends = len(ids), []
    for step in steps:
        ids += renderer.text_tokens(step)
        ids += renderer.text_tokens(separator)
        ends.append(len(ids) - 1)
    return Spelt(ids, begins, ends)
