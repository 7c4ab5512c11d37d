"""What a stage is given besides its engine: the meanings that `workflows` injects.

Invariant: nothing in `actors` knows what a step, an answer or a label is; it only calls these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

SplitSteps = Callable[[str], Sequence[str]]
"""Solution text -> its steps, headers stripped."""

ReadAnswer = Callable[[str], str | None]
"""Solution text -> content of its last box, as it is compared; None where there is none."""


class Grading(Protocol):
    """Compares answers with a reference, outside of the event loop."""

    async def grade(self, reference: str, answers: Sequence[str | None]) -> list[bool]:
        """Whether each answer equals the reference; None never does.

        Raises InfrastructureError; an answer that takes too long to compare is not equal.
        """
        ...

    async def close(self) -> None:
        """End the processes that compare. Idempotent."""
        ...
