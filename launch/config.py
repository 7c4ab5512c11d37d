"""Reads a configuration file (YAML) and validates it into frozen dataclasses.

Every field is documented where it is defined (`workflows.builds.configuration`,
`workflows.settings`).

Invariant: an unknown key, a missing field or a value out of bounds is one line that names the key
and says what to change. No run starts before the whole file is valid.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from actors.engines.contract import EngineSettings
from storage.errors import ConfigurationError
from storage.rows.kinds import GIVEN, PATHS, REUSED, handed
from workflows.builds.configuration import BuildConfig
from workflows.formats.prompt_files import read_prompts
from workflows.inputs.places import resolved
from workflows.runs.reading import local_model, read, store_url, validated
from workflows.training.settings import TrainConfig

_ADAPTER: TypeAdapter[BuildConfig] = TypeAdapter(BuildConfig)
_TRAINING: TypeAdapter[TrainConfig] = TypeAdapter(TrainConfig)


def load(path: str | Path, **overrides: Any) -> BuildConfig:
    """Read and validate a build's configuration file; paths in it are relative to the file.

    `overrides` replace its top-level keys, unless they are None; paths in them are relative to the
    working folder. Raises ConfigurationError that names the wrong keys.
    """
    path = Path(path)
    if named := overrides.get("problems"):
        overrides["problems"] = resolved(Path.cwd(), named)
    raw, folder = read(path, overrides), path.resolve().parent
    if "base" in raw and "models" not in raw:
        raise ConfigurationError(f"{path} is the file of a training: stepmill train {path}")
    if "verify" in raw and "problems" not in raw:
        raise ConfigurationError(
            f"{path} holds settings of a verifier: stepmill score MODEL FILE --config {path}"
        )
    if isinstance(raw.get("prompts"), str):
        raw["prompts"] = read_prompts(folder / Path(raw["prompts"]).expanduser())
    return _resolved(validate(raw, str(path)), folder)


def load_training(path: str | Path, **overrides: Any) -> TrainConfig:
    """Read and validate the configuration file of a training, as `load` does."""
    path = Path(path)
    raw = read(path, overrides)
    if "base" not in raw and {"models", "problems"} & raw.keys():
        raise ConfigurationError(f"{path} is the file of a build: stepmill build {path}")
    for asked, other in (("run", "runs"), ("runs", "run")):
        if overrides.get(asked):
            raw.pop(other, None)
    config = validated(_TRAINING, raw, str(path))
    try:
        config.check_source()
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None
    folder = path.resolve().parent
    template, rows = config.chat_template, config.conversations
    return replace(
        config,
        conversations=str((folder / rows).resolve()) if rows else None,
        store=store_url(config.store),
        base=local_model(folder, config.base),
        chat_template=str((folder / template).resolve()) if template else None,
    )


def validate(raw: dict[str, Any], source: str) -> BuildConfig:
    """The configuration of a build that YAML holds, typed. `source`: the file, for messages.

    Raises ConfigurationError that names every wrong key. No model and no file is looked at.
    """
    config = _with_given(validated(_ADAPTER, raw, source), source)
    try:
        config.engines  # noqa: B018 - raises where the road is none, or lacks a model
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from None
    return config


def _with_given(config: BuildConfig, source: str) -> BuildConfig:
    """Where `solutions` is set, put stage `given` or `reused` before `sample` on the road."""
    road = config.stages.road
    if config.solutions is None or handed(road):
        return config
    if PATHS.stage not in road:
        raise ConfigurationError(
            f"{source}: `solutions` are taken by stage {PATHS.stage!r}: name it in `stages.road`"
        )
    at = road.index(PATHS.stage)
    kind = REUSED if config.stages.sample.reuse_rollouts else GIVEN
    with_given = (*road[:at], kind.stage, *road[at:])
    return replace(config, stages=replace(config.stages, road=with_given))


def _resolved(config: BuildConfig, folder: Path) -> BuildConfig:
    """Make file paths absolute: relative ones are relative to the configuration file."""

    def engine(settings: EngineSettings | None) -> EngineSettings | None:
        if settings is None:
            return None
        local = settings.kind == "vllm"
        return replace(settings, model=local_model(folder, settings.model)) if local else settings

    models = config.models
    return replace(
        config,
        problems=resolved(folder, config.problems),
        solutions=config.solutions and resolved(folder, config.solutions),
        leave_out=replace(
            config.leave_out,
            against=tuple(resolved(folder, name) for name in config.leave_out.against),
        ),
        store=store_url(config.store),
        models=replace(
            models, **{of.name: engine(getattr(models, of.name)) for of in fields(models)}
        ),
    )
