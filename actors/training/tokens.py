"""A training's tokens from its base model's small files, and their making in one process.

Invariant: whoever makes a training's tokens and whoever learns them has the same tokenizer and the
same longest conversation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from actors.engines.contract import EngineSettings
from actors.models.fetching import small_files
from actors.models.folder import loaded
from actors.models.source import ModelSource
from actors.training.job import Source, Tokens


class Base(NamedTuple):
    """A base model without its weights."""

    config: Any
    """Of transformers."""
    tokenizer: Any
    """As it is trained and saved with."""
    most_tokens: int
    """Longest conversation."""


def opened(folder: Path | str, source: Source, name: str) -> Base:
    """Open the base model in a folder. Raises InputError, with the base's `name`."""
    from transformers import AutoConfig, AutoTokenizer

    config, tokenizer = loaded(
        f"base model {name} can't be loaded",
        lambda: [
            kind.from_pretrained(folder, trust_remote_code=False)
            for kind in (AutoConfig, AutoTokenizer)
        ],
    )
    context = int(getattr(config, "max_position_embeddings", 0)) or 1 << 30
    return Base(config, source.tokenizer(tokenizer), source.most_tokens(context))


def tokens_of(base: EngineSettings, source: Source) -> Tokens:
    """What a source is for a base, whose small files are fetched. Raises UserError."""
    folder = small_files(ModelSource(base.model, base.revision))
    made = opened(folder, source, base.model)
    return source.tokens(made.tokenizer, made.most_tokens)


def make_here(tokens: Tokens) -> Tokens:
    """Make what is missing, in this process; the same tokens. Raises UserError and more."""
    if (missing := tokens.missing()) is not None:
        for _ in tokens.make(missing.pieces):
            pass
        tokens.divide()
    return tokens
