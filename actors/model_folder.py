"""Whether a folder is a model, said before anything is loaded.

Invariant: what is missing is named in one line, before a process is started or memory is taken.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from actors.engine import EngineSettings
from storage.errors import InputError

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "*.pt", "*.gguf")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")


def check_model(settings: EngineSettings) -> None:
    """Raise InputError where `settings.model` is neither a model folder nor a hub's name."""
    if not settings.model:
        raise InputError("no model is named: set `model` to a folder or to a name such as org/name")
    folder = Path(settings.model).expanduser()
    if not folder.exists():
        if _HUB_NAME.fullmatch(settings.model):
            return  # loaded from the hub or its cache, which says itself what it lacks
        raise InputError(f"model folder {settings.model} does not exist")
    if not folder.is_dir():
        raise InputError(f"model folder {settings.model} is a file")
    _check_config(folder)
    _check_weights(folder)
    tokenizer = Path(settings.tokenizer).expanduser() if settings.tokenizer else folder
    if tokenizer.is_dir():
        _check_tokenizer(tokenizer)


def _check_config(folder: Path) -> None:
    config = _json(folder, "config.json")
    if "architectures" not in config and "model_type" not in config:
        raise InputError(f"{folder}/config.json names no model architecture")


def _check_weights(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = _json(folder, index.name).get("weight_map")
        shards = sorted(set(named.values())) if isinstance(named, dict) else []
        for shard in shards:
            if not (folder / shard).is_file():
                raise InputError(f"model folder {folder} lacks {shard}, which its index names")
    if not any(file for pattern in WEIGHTS for file in folder.glob(pattern)):
        raise InputError(f"model folder {folder} has no weights (*.safetensors)")


def _check_tokenizer(folder: Path) -> None:
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise InputError(f"model folder {folder} has no tokenizer (tokenizer.json)")
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return
    settings = folder / "tokenizer_config.json"
    if not settings.is_file() or not _json(folder, settings.name).get("chat_template"):
        raise InputError(f"model folder {folder} has no chat template (chat_template.jinja)")


def _json(folder: Path, name: str) -> dict[str, object]:
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder} is not a model folder: it has no {name}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}/{name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{folder}/{name} is not a JSON object")
    return content
