"""What a worker of a training is told: small, sent by pickle, understood without torch.

Invariant: two workers with the same job end at the same model, up to the order of additions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from actors.engines.contract import EngineSettings
from actors.training.batches import Corpus
from actors.training.events import Place, Say
from actors.training.settings import TrainingSettings
from storage.trainings.training import TrainingSpec


class Source(Protocol):
    """Where a training's conversations come from."""

    def tokenizer(self, tokenizer: Any) -> Any:
        """The tokenizer as it is trained and saved with."""
        ...

    def most_tokens(self, context: int) -> int:
        """Longest conversation for a model with so many positions."""
        ...

    def load(
        self, tokenizer: Any, most_tokens: int, folder: Path, place: Place, say: Say
    ) -> Corpus:
        """Everything to train on, what is fetched of it in `folder`; called by all workers.

        Raises UserError where that is nothing.
        """
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
