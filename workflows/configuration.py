"""The configuration of a build as a frozen value, and which part of it the result depends on.

Invariant: `binding` is what a run's result depends on: it is frozen into the run's spec and may
never differ on continuing. Everything else (`ClusterSettings`, how an engine is run, where the
store lies) only says where and how fast the work is done, and may change at any time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from actors.engine import EngineSettings
from actors.sandbox.contract import SandboxSettings
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
    """Tries of a shard before the run stops, or before one that kills its worker is taken apart."""
    retry_pause_s: Annotated[float, Field(ge=0)] = 5.0
    """Pause before what failed is tried again; three times as long each time."""
    deadline_floor_s: Annotated[float, Field(gt=0)] = 600.0
    """No shard is late before so many seconds."""
    deadline_factor: Annotated[float, Field(ge=1)] = 5.0
    """A shard is late after so many medians of its stage, and gets a twin where there is room."""
    trouble_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """The run stops when more of a stage's items are dropped by trouble (not by a rule)."""
    trouble_after: Positive = 50
    """Items of a stage before that share means anything."""
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


def binding(config: BuildConfig) -> dict[str, Any]:
    """The settings that the result depends on, as plain values.

    Models are named apart (`actors.models.model_identity`): by name or by what their files hold,
    not by where a clone of the project happens to lie.
    """
    return {
        "limit": config.limit,
        "stages": asdict(config.stages),
        "sandbox_limits": asdict(config.sandbox.limits),
        "engines": {
            role: {"max_model_len": engine["max_model_len"], "dtype": engine["dtype"]}
            for role, engine in asdict(config.models).items()
        },
    }
