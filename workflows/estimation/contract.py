"""The contract between a budget of rollouts and the stage that makes the rollouts."""

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
    """Decides how many rollouts each state gets, from the counts so far alone."""

    stop_rule: str
    """Name of the budget, stored with every row."""
    probe: int
    """Number of rollouts from state 0 by which K is chosen."""

    def per_state(self, probed: Count) -> int:
        """K, the rollouts per state, from the counts of the probe."""
        ...

    def wants(
        self, steps: int, k: int, counts: Mapping[int, Count], correct: bool
    ) -> Sequence[Want]:
        """Rollouts to make next for a path of `steps` steps; empty when the path is done.

        A state may be named again. `correct`: whether the path's own answer is right; some
        budgets use it as evidence.
        """
        ...
