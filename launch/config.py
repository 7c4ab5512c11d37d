"""A configuration file: YAML in, validated frozen values out.

Every field is documented where it is defined (`workflows.configuration`, `workflows.settings`).

Invariant: an unknown key, a missing field or a value out of bounds is one line that names the key
and says what to change; nothing is started with a configuration that was not wholly understood.
"""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from actors.engine import EngineSettings
from storage.errors import ConfigurationError
from workflows.configuration import BuildConfig
from workflows.training_settings import TrainConfig

Config = TypeVar("Config")

_ADAPTER: TypeAdapter[BuildConfig] = TypeAdapter(BuildConfig)
_TRAINING: TypeAdapter[TrainConfig] = TypeAdapter(TrainConfig)


def load(path: Path, overrides: dict[str, Any] | None = None) -> BuildConfig:
    """Read and validate a configuration file; paths in it are relative to the file.

    Raises ConfigurationError with one line per wrong key.
    """
    config = validate(read(path, overrides), str(path))
    return _resolved(config, path.resolve().parent)


def load_training(path: Path, overrides: dict[str, Any] | None = None) -> TrainConfig:
    """The same for the configuration of a training."""
    config = validated(_TRAINING, read(path, overrides), str(path))
    folder = path.resolve().parent
    template = config.chat_template
    return replace(
        config,
        store=store_url(config.store),
        base=_local(folder, config.base),
        chat_template=str((folder / template).resolve()) if template else None,
    )


def read(path: Path, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """The settings of a file as they are written; what is overridden is replaced, unless None."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: can't be read: {error}") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise ConfigurationError(f"{path}: not valid YAML{line}") from None
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{path}: must be a mapping of settings")
    raw.update({key: value for key, value in (overrides or {}).items() if value is not None})
    return raw


def validate(raw: dict[str, Any], source: str) -> BuildConfig:
    """Validate plain data; raises ConfigurationError naming the keys that are wrong."""
    config = validated(_ADAPTER, raw, source)
    try:
        config.engines  # noqa: B018 - raises where the road is none, or lacks a model
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from None
    return config


def validated(adapter: TypeAdapter[Config], raw: dict[str, Any], source: str) -> Config:
    """Validate plain data of any kind; raises ConfigurationError naming the keys that are wrong."""
    try:
        return adapter.validate_python(raw)
    except ValidationError as error:
        lines = [_explain(e["loc"], e["type"], e["msg"]) for e in error.errors()]
        raise ConfigurationError(f"{source}: " + "; ".join(lines)) from None


def _explain(location: tuple[int | str, ...], kind: str, message: str) -> str:
    key = ".".join(str(part) for part in location)
    if kind == "unexpected_keyword_argument" or kind == "extra_forbidden":
        return f"unknown key `{key}`: remove it or correct its name"
    if kind in ("missing", "missing_argument"):
        return f"`{key}` is missing: add it"
    return f"`{key}`: {message[0].lower()}{message[1:]}"


def _resolved(config: BuildConfig, folder: Path) -> BuildConfig:
    """Make file paths absolute: relative ones are relative to the configuration file."""

    def engine(settings: EngineSettings | None) -> EngineSettings | None:
        if settings is None:
            return None
        local = settings.kind == "vllm"
        return replace(settings, model=_local(folder, settings.model)) if local else settings

    models = config.models
    return replace(
        config,
        problems=str((folder / config.problems).resolve()),
        store=store_url(config.store),
        models=replace(
            models, **{of.name: engine(getattr(models, of.name)) for of in fields(models)}
        ),
    )


def _local(folder: Path, model: str) -> str:
    """A model's folder, made absolute; a hub's name as it is."""
    return str((folder / model).resolve()) if model.startswith((".", "/")) else model


def store_url(text: str) -> str:
    """`file:FOLDER` or a bare folder becomes `file:///…` relative to the working directory."""
    if text.startswith("file:") and not text.startswith("file://"):
        text = text.removeprefix("file:")
    if "://" in text:
        return text
    return f"file://{os.path.abspath(text)}"
