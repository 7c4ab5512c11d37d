"""Checks whether a folder is a model, before anything is loaded.

Invariant: an error of one line names what is missing, before a process starts or memory is taken.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from actors.engines.contract import EngineSettings
from actors.models.source import ModelSource
from storage.errors import InputError, StepmillError, first_line

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "tokenizer.model", "tekken.json",
)  # fmt: skip
INDEX = "model.safetensors.index.json"
WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "*.pt", "*.gguf")
Loaded = TypeVar("Loaded")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")


def check_model(settings: EngineSettings) -> None:
    """Raise InputError unless `settings.model` is a model folder or a name of the hub."""
    if not settings.model:
        raise InputError("no model is named: set `model` to a folder or to a name such as org/name")
    source = ModelSource(settings.model)
    if source.stored or source.on_hub:
        return  # the hub or the store checks its own models
    folder = Path(settings.model).expanduser()
    if not folder.exists():
        raise InputError(
            f"model folder {settings.model} does not exist on {platform.node()}: name one that "
            "every machine has, a hub's model (org/name), or what was trained (training:NAME)"
        )
    if not folder.is_dir():
        raise InputError(f"model folder {settings.model} is a file")
    check_config(folder)
    check_weights(folder)
    tokenizer = Path(settings.tokenizer).expanduser() if settings.tokenizer else folder
    if tokenizer.is_dir():
        check_tokenizer(tokenizer)


def check_config(folder: Path) -> None:
    """Raise InputError if a folder has no configuration of a model."""
    config = json_of(folder, "config.json")
    if "architectures" not in config and "model_type" not in config:
        raise InputError(f"{folder}/config.json names no model architecture")


def check_weights(folder: Path) -> None:
    """Raise InputError if a folder lacks weights."""
    if (folder / INDEX).is_file():
        named = json_of(folder, INDEX).get("weight_map")
        shards = sorted(set(map(str, named.values()))) if isinstance(named, dict) else []
        for shard in shards:
            if not (folder / shard).is_file():
                raise InputError(f"model folder {folder} lacks {shard}, which its index names")
    weights = [file for pattern in WEIGHTS for file in folder.glob(pattern)]
    if strange := next((file for file in weights if not file.is_file()), None):
        raise InputError(f"model folder {folder}: {strange.name} is no file")
    if not weights:
        raise InputError(f"model folder {folder} has no weights (*.safetensors)")


def check_tokenizer(folder: Path) -> None:
    """Raise InputError if a folder has no tokenizer with a chat template."""
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise InputError(f"model folder {folder} has no tokenizer (tokenizer.json)")
    if chat_template(folder) is None:
        raise InputError(f"model folder {folder} has no chat template (chat_template.jinja)")


def chat_template(folder: Path) -> str | None:
    """The chat template of a folder, as text; None if it has none. Raises InputError."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InputError(f"{file} cannot be read: {error}") from error
    for name in ("chat_template.json", "tokenizer_config.json"):
        if (folder / name).is_file() and (template := json_of(folder, name).get("chat_template")):
            return template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return None


def loaded(said: str, load: Callable[[], Loaded]) -> Loaded:
    """What a library makes of a model's files. Raises InputError, which begins as `said`: of files
    that are damaged, or somebody's trick, it raises what it likes.
    """
    try:
        return load()
    except StepmillError:
        raise
    except Exception as error:
        kind = "" if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: "
        raise InputError(f"{said}: {kind}{first_line(error)}") from error


def json_of(folder: Path, name: str) -> dict[str, Any]:
    """The JSON object in a folder's file. Raises InputError."""
    file = folder / name
    if file.exists() and not file.is_file():  # a pipe would be waited for
        raise InputError(f"{file} is no file")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder} is not a model folder: it has no {name}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{folder}/{name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{folder}/{name} is not a JSON object")
    return content
