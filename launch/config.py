"""The configuration of a build: YAML in, validated frozen values out.

Every field is documented where it is defined. An unknown key, a missing field or a value out of
bounds is one line that names the key and says what to change.

Invariant: `binding(config)` is what the result depends on (it is frozen into the run's spec and
may never differ on resuming); everything else only says where and how fast the work is done.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from actors.engine import EngineSettings
from actors.sandbox.contract import SandboxSettings
from storage.errors import ConfigurationError
from workflows.settings import STRICT, Positive, StageSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """The three models of a build."""

    __pydantic_config__ = STRICT

    policy: EngineSettings
    """Samples the solutions."""
    completer: EngineSettings
    """Rolls out from every step."""
    rationale: EngineSettings
    """Writes analyses and code, and judges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Where and how fast the work is done; never changes what is made."""

    __pydantic_config__ = STRICT

    engine_slots: int | None = None
    """Engines that may run at once, counted in GPUs; None: all GPUs of the cluster, or 1."""
    workers_per_role: Positive = 64
    """Most workers of one model role."""
    parallel_shards: Positive = 4
    """Shards in flight on one worker, so that its engine never drains between shards."""
    window: Positive = 32
    """Most shards that wait before a stage; a slow stage stops the one before it."""
    attempts: Positive = 3
    """Tries of a shard before the run stops."""
    sandbox_actors: Positive = 1
    """Actors that run code; each has `sandbox.slots` slots."""
    ray_address: str | None = None
    """Ray cluster to join; None: $RAY_ADDRESS, or a private one on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildConfig:
    """Everything a build needs."""

    __pydantic_config__ = STRICT

    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    """Name of the run: letters, digits, dot, dash, underscore."""
    problems: str
    """JSON lines or Parquet file with problem_id, problem, answer; relative to this file."""
    limit: Positive | None = None
    """Take only the first so many problems."""
    store: str = "file:.stepmill/store"
    """Object store: file:FOLDER, s3://BUCKET/PREFIX."""
    shard_size: Positive = 64
    """Problems in one shard: the unit of work, of commit and of what a crash can cost."""
    models: ModelSettings
    stages: StageSettings = field(default_factory=StageSettings)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    format: Literal[1] = 1
    """Version of this file's format."""


_ADAPTER: TypeAdapter[BuildConfig] = TypeAdapter(BuildConfig)


def load(path: Path, overrides: dict[str, Any] | None = None) -> BuildConfig:
    """Read and validate a configuration file; paths in it are relative to the file.

    Raises ConfigurationError with one line per wrong key.
    """
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
    config = validate(raw, str(path))
    return _resolved(config, path.resolve().parent)


def validate(raw: dict[str, Any], source: str) -> BuildConfig:
    """Validate plain data; raises ConfigurationError naming the keys that are wrong."""
    try:
        return _ADAPTER.validate_python(raw)
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

    def engine(settings: EngineSettings) -> EngineSettings:
        here = folder / settings.model
        local = settings.kind == "vllm" and settings.model.startswith((".", "/"))
        return replace(settings, model=str(here.resolve())) if local else settings

    models = config.models
    return replace(
        config,
        problems=str((folder / config.problems).resolve()),
        store=store_url(config.store),
        models=replace(
            models,
            policy=engine(models.policy),
            completer=engine(models.completer),
            rationale=engine(models.rationale),
        ),
    )


def store_url(text: str) -> str:
    """`file:FOLDER` or a bare folder becomes `file:///…` relative to the working directory."""
    if text.startswith("file:") and not text.startswith("file://"):
        text = text.removeprefix("file:")
    if "://" in text:
        return text
    return f"file://{os.path.abspath(text)}"


def plain(config: BuildConfig) -> dict[str, Any]:
    """The whole configuration as plain JSON values."""
    return asdict(config)


def binding(config: BuildConfig) -> dict[str, Any]:
    """The part of the configuration that the result depends on.

    Models count by the names that were written and the digests of their files, not by where a
    clone of the project happens to lie; the caller adds both.
    """
    return {
        "shard_size": config.shard_size,
        "limit": config.limit,
        "stages": asdict(config.stages),
        "sandbox_limits": asdict(config.sandbox.limits),
    }
