"""What a budget of rollouts is to the stage that makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class Count(NamedTuple):
    """Rollouts of a state so far, and how many of them ended in the right answer."""

    n: int
    c: int


class Want(NamedTuple):
    """Rollouts to make next from one state."""

    state: int
    n: int


class RolloutBudget(Protocol):
    """How many rollouts which state gets; pure in the counts seen so far."""

    stop_rule: str
    """Name stored with every row."""
    probe: int
    """Rollouts from state 0 that choose K."""

    def per_state(self, probed: Count) -> int:
        """K, from the probe."""
        ...

    def wants(
        self, steps: int, k: int, counts: Mapping[int, Count], correct: bool
    ) -> Sequence[Want]:
        """What a path of `steps` steps needs next; empty: done. May ask for a state again.

        `correct`: whether the path's own answer is right, which some budgets take as evidence.
        """
        ...
