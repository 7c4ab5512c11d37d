"""GroundedPRM's tree policy: which step is chosen next, and what a simulation is worth to it.

    UCT(step) = sign Q + c sqrt(ln N / n)

Q is the mean of the values backed up to the step, n their number, N that of the step before. `sign`
turns once enough right solutions were found: wrong ones are sought then. A step without a visit
comes first, one that the tool calls right before others.

Invariant: depends only on counts, values and verdicts. Ties go to the earlier step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Choice(NamedTuple):
    """A step that may be chosen."""

    value: float | None
    """Q; None before the first visit."""
    visits: int
    verdict: bool | None


def uct(choice: Choice, parent_visits: int, exploration: float, sign: int) -> tuple[float, int]:
    """The sort key of a step; the largest is chosen."""
    if choice.value is None:
        return math.inf, {True: 1, None: 0, False: -1}[choice.verdict]
    bonus = math.sqrt(math.log(max(1, parent_visits)) / choice.visits)
    return sign * choice.value + exploration * bonus, 0


def chosen(choices: Sequence[Choice], parent_visits: int, exploration: float, sign: int = 1) -> int:
    """The position of the step that is chosen."""
    return max(
        range(len(choices)),
        key=lambda place: uct(choices[place], parent_visits, exploration, sign),
    )
