"""Licences: which words the hub knows, and which licence a model or a dataset is under.

Invariant: a licence is what its owner says in a card; nothing is guessed, and an unknown one is
said to be unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import yaml
from huggingface_hub import CardData, HfApi, RepoCard
from huggingface_hub.errors import HfHubHTTPError

from actors.models.source import ModelSource
from storage.errors import ConfigurationError

UNKNOWN = "unknown"
HUB_LICENCES = frozenset([
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m",
    "bigscience-bloom-rail-1.0", "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0",
    "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0",
    "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
    "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0",
    "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl", "gpl",
    "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "h-research", "intel-research",
    "lppl-1.3c", "ms-pl", "apple-ascl", "apple-amlr", "mpl-2.0", "odc-by", "odbl",
    "openmdw-1.0", "openmdw-1.1", "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa",
    "unlicense", "zlib", "pddl", "lgpl-lr", "deepfloyd-if-license",
    "fair-noncommercial-research-license", "llama2", "llama3", "llama3.1", "llama3.2",
    "llama3.3", "llama4", "grok2-community", "gemma", "unknown", "other",
])  # fmt: skip
"""The hub's words, as its documentation lists them (hub/repositories-licenses)."""


def check_licence(name: str | None) -> str:
    """The hub's word for a licence; `unknown` for None. Raises ConfigurationError."""
    word = (name or UNKNOWN).lower()
    if word not in HUB_LICENCES:
        near = sorted(known for known in HUB_LICENCES if known.split("-")[0] == word.split("-")[0])
        hint = f"did you mean {', '.join(near)}?" if near else "for one of your own say `other`"
        raise ConfigurationError(f"licence {name!r} is not one that the hub knows: {hint}")
    return word


def licence_of_model(source: ModelSource, api: HfApi) -> str:
    """The licence in a model's card, in its folder or on the hub; `unknown` where none is said."""
    if source.folder is not None:
        return _in_folder(source.folder)
    if source.on_hub:
        return _on_hub(lambda: api.model_info(source.name, revision=source.revision))
    return UNKNOWN


def licence_of_problems(place: str, api: HfApi) -> str:
    """The licence in the card of `hf://datasets/OWNER/NAME`; `unknown` for other places."""
    name = place.partition("hf://datasets/")[2].partition("?")[0]
    if not name:
        return UNKNOWN
    name, _, revision = "/".join(name.split("/")[:2]).partition("@")
    return _on_hub(lambda: api.dataset_info(name, revision=revision or None))


def _in_folder(folder: Path) -> str:
    try:
        card = RepoCard((folder / "README.md").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):  # a folder may have no card, or a broken one
        return UNKNOWN
    return _word(card.data)


def _on_hub(ask: Callable[[], Any]) -> str:
    try:
        return _word(ask().card_data)
    except (OSError, ValueError, HfHubHTTPError, httpx2.HTTPError):  # private, gone, not reached
        return UNKNOWN


def _word(data: CardData | None) -> str:
    """The licence of a card; a licence of its owner's own by the name that the owner gave it."""
    said = getattr(data, "license", None) if data is not None else None
    word = ", ".join(said) if isinstance(said, list) else said
    name = getattr(data, "license_name", None)
    return str(name if word == "other" and name else word or UNKNOWN)
