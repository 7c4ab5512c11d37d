"""What a worker of a training is told: small, sent by pickle, understood without torch.

Invariant: two workers with the same job end at the same model, up to the order of additions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from actors.engines.contract import EngineSettings
from actors.training.batches import Corpus
from actors.training.events import Place
from actors.training.settings import TrainingSettings
from storage.trainings.training import TrainingSpec


class Missing(NamedTuple):
    """Shards of tokens that are not stored."""

    pieces: Sequence[tuple[int, int]]
    """(number of the set, number of the shard in it)."""
    of: int
    """Number of all shards."""


class Tokens(Protocol):
    """The conversations of a training as tokens of one tokenizer, where they are stored."""

    def missing(self) -> Missing | None:
        """The shards that nobody stored yet; None: all are there, and divided."""
        ...

    def make(self, pieces: Sequence[tuple[int, int]]) -> Iterator[None]:
        """Make and store some shards; yields after each. Raises UserError, InfrastructureError."""
        ...

    def divide(self) -> None:
        """Decide which of the stored conversations are trained on, and store that.

        Raises UserError where that is nothing.
        """
        ...

    def corpus(self, folder: Path, place: Place) -> Corpus:
        """Everything to train on, what is fetched of it in `folder`; called by all workers.

        Raises NothingFound where tokens are missing.
        """
        ...


class Source(Protocol):
    """Where a training's conversations come from."""

    def tokenizer(self, tokenizer: Any) -> Any:
        """The tokenizer as it is trained and saved with."""
        ...

    def most_tokens(self, context: int) -> int:
        """Longest conversation for a model with so many positions."""
        ...

    def tokens(self, tokenizer: Any, most_tokens: int) -> Tokens:
        """What it is with a tokenizer. Raises UserError."""
        ...


Dress = Callable[[Path, Mapping[str, Any]], None]
"""Adds card and learning curve to the folder of the model, from what is noted of it."""


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """Everything a worker needs; small, sent by pickle."""

    store: str
    name: str
    spec: TrainingSpec
    base: EngineSettings
    """Which base model; nothing else of the settings matters."""
    source: Source
    settings: TrainingSettings
    dress: Dress
