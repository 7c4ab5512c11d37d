"""What a model's own files say of it, read without loading it: a folder's, or those of the hub.

Invariant: two small JSON files are read, from the disk, the hub's cache or the hub; no weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib import request
from urllib.error import HTTPError

from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from actors.engine import EngineSettings
from actors.model_folder import WEIGHTS
from storage.errors import InputError, first_line

ANSWER_S = 10.0
INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What decides whether and how a model can be run somewhere."""

    dtype: str = "float32"
    """Precision in which the weights are stored."""
    heads: int | None = None
    """Attention heads, which tensor parallelism shares out."""
    context: int | None = None
    """Most positions that the model knows."""
    weights_bytes: int | None = None
    """Size of the weights' files; None: not known."""


def facts_of(settings: EngineSettings) -> ModelFacts:
    """The facts of a model to be run by vLLM. Raises InputError where it can't be read."""
    folder = Path(settings.model).expanduser()
    if folder.is_dir():
        return _facts(_json(folder / "config.json"), _folder_bytes(folder))
    revision = settings.options.get("revision")
    config = _fetched(settings.model, "config.json", str(revision) if revision else None)
    return _facts(_json(config), _hub_bytes(settings.model, config.parent, revision))


def _facts(config: dict[str, Any], weights_bytes: int | None) -> ModelFacts:
    text = config.get("text_config")  # of a model that sees pictures too
    own = {**config, **text} if isinstance(text, dict) else config
    return ModelFacts(
        dtype=str(own.get("dtype") or own.get("torch_dtype") or "float32"),
        heads=own.get("num_attention_heads"),
        context=own.get("max_position_embeddings"),
        weights_bytes=weights_bytes,
    )


def _folder_bytes(folder: Path) -> int | None:
    if (folder / INDEX).is_file():
        return _indexed(_json(folder / INDEX))
    return sum(file.stat().st_size for kind in WEIGHTS for file in folder.glob(kind))


def _indexed(index: dict[str, Any]) -> int | None:
    size = (index.get("metadata") or {}).get("total_size")
    return int(size) if size else None


def _hub_bytes(name: str, snapshot: Path, revision: object) -> int | None:
    """As the index says, or the size of the one file; None where neither can be had."""
    wanted = str(revision) if revision else None
    for whole in (False, True):
        try:
            if not whole:
                return _indexed(_json(_fetched(name, INDEX, wanted)))
            if (snapshot / WHOLE).is_file():
                return (snapshot / WHOLE).stat().st_size
            return get_hf_file_metadata(hf_hub_url(name, WHOLE, revision=wanted)).size
        except (InputError, OSError, HfHubHTTPError):
            continue
    return None


def _fetched(name: str, file: str, revision: str | None) -> Path:
    """A file of the hub, in its cache. Raises InputError."""
    cached = try_to_load_from_cache(name, file, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    said = _unreachable()
    if not said:
        try:
            return Path(hf_hub_download(name, file, revision=revision))
        except GatedRepoError:
            said = "the hub asks for permission: accept its terms there, and set HF_TOKEN"
        except RevisionNotFoundError:
            said = f"the hub has no revision {revision} of it"
        except RepositoryNotFoundError:
            said = "the hub has no model of that name (for a private one set HF_TOKEN)"
        except RemoteEntryNotFoundError:
            said = f"it has no {file}"
        except (OSError, HfHubHTTPError) as error:
            said = f"the hub can't be read: {first_line(error)}"
    raise InputError(f"model {name}: {said}")


@cache
def _unreachable() -> str:
    """Why the hub can't be asked; empty where it can. Its own client tries for half a minute."""
    if constants.HF_HUB_OFFLINE:
        return "it is not in the hub's cache, and HF_HUB_OFFLINE is set"
    try:
        request.urlopen(
            request.Request(constants.ENDPOINT, method="HEAD"), timeout=ANSWER_S
        ).close()
    except HTTPError:
        return ""  # whatever it says, it is there
    except OSError as error:
        return (
            f"it is not in the hub's cache, and the hub can't be reached ({first_line(error)}): "
            "name a folder instead"
        )
    return ""


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} can't be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} is not a JSON object")
    return content
