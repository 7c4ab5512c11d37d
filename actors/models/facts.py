"""Facts of a model, read from the files of its folder or of the hub, without loading it.

Invariant: only small JSON files are fetched and read, never weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.engines.contract import EngineSettings
from actors.models import store
from actors.models.fetching import small_files
from actors.models.folder import INDEX, WEIGHTS, json_of
from actors.models.source import ModelSource


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The facts that decide whether and how a model can run on a machine."""

    dtype: str = "float32"
    """Precision in which the weights are stored."""
    heads: int | None = None
    """Attention heads, which tensor parallelism distributes over GPUs."""
    context: int | None = None
    """Most tokens of its context."""
    weights_bytes: int | None = None
    """Size of the weights' files; None: not known."""
    vocabulary: int | None = None
    """Number of its tokens."""
    width: int | None = None
    """Width of its widest layer, in numbers per token."""
    cached: int | None = None
    """Numbers that attention keeps of a token (keys and values of all layers); None: not known."""


def facts_of(settings: EngineSettings) -> ModelFacts:
    """The facts of a model that vLLM is to run. Raises InputError if it can't be read."""
    source = ModelSource(settings.model, settings.revision)
    folder = Path(small_files(source)).expanduser()
    return _facts(json_of(folder, "config.json"), _weights_bytes(source, folder))


def _facts(config: dict[str, Any], weights_bytes: int | None) -> ModelFacts:
    text = config.get("text_config")  # a model that also sees pictures has its own part
    own = {**config, **text} if isinstance(text, dict) else config
    named = ("dtype", "torch_dtype")
    own = {name: own[name] for name in own if type(own[name]) is int or name in named}
    return ModelFacts(
        dtype=str(own.get("dtype") or own.get("torch_dtype") or "float32"),
        heads=own.get("num_attention_heads"),
        context=own.get("max_position_embeddings"),
        weights_bytes=weights_bytes,
        vocabulary=own.get("vocab_size"),
        width=max((own.get(name) or 0 for name in ("hidden_size", "intermediate_size")), default=0)
        or None,
        cached=_cached(own),
    )


def _cached(own: dict[str, Any]) -> int | None:
    """Keys and values of every layer; None for attention of another kind (a latent cache)."""
    layers, heads = own.get("num_hidden_layers"), own.get("num_attention_heads")
    if not layers or not heads or own.get("kv_lora_rank"):
        return None
    size = own.get("head_dim") or (own.get("hidden_size") or 0) // heads
    return 2 * layers * (own.get("num_key_value_heads") or heads) * size or None


def _weights_bytes(source: ModelSource, folder: Path) -> int | None:
    if source.stored:
        return store.weights_bytes(source)
    if (folder / INDEX).is_file():
        return _indexed(json_of(folder, INDEX))
    if source.on_hub:
        from actors.models import hub  # takes a third of a second to import

        if size := hub.weights_bytes(source.name, folder.name):
            return size
    sizes = [file.stat().st_size for kind in WEIGHTS for file in folder.glob(kind)]
    return sum(sizes) if sizes else None


def _indexed(index: dict[str, Any]) -> int | None:
    size = (index.get("metadata") or {}).get("total_size")
    return int(size) if size else None
