"""The contract of a reader: a problem and steps in, log-odds for each step out.

A head says them at the last token of each step; a model trained on outcomes implies them by how
much likelier it finds a step than its reference does (`actors.engines.vllm_reader`).

Invariant: the log-odds of a step depend on the problem and the steps up to it, and on nothing that
is sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from actors.engines.passages import Passage

Script = Callable[[Passage], Sequence[float]]
"""A passage of T steps -> T log-odds."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model says of a passage of T steps."""

    log_odds: list[float]
    """T values: of a step being right, or of what else the model was trained to say."""
    tokens: int
    """Tokens that were read."""


@runtime_checkable
class Reader(Protocol):
    """A passage in, log-odds out."""

    async def read(self, passage: Passage) -> Reading:
        """Read a passage. Raises EngineFailed; ItemError `too_long` and `control_token`."""
        ...

    async def close(self) -> None:
        """Stop the engines behind it. Idempotent."""
        ...


class ScriptedReader:
    """Log-odds out of a script, for tests."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def read(self, passage: Passage) -> Reading:
        """See `Reader.read`; a token is a word."""
        words = " ".join((passage.problem, *passage.steps)).split()
        return Reading(list(self._script(passage)), len(words))

    async def close(self) -> None:
        """Nothing to stop."""
