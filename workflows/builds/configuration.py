"""The configuration of a build as a frozen value, and which part of it the result depends on.

Invariant: `binding` is what a run's result depends on: it is frozen into the run's spec and may
never differ on continuing. Everything else (`ClusterSettings`, how an engine is run, where the
store lies) only says where and how fast the work is done, and may change at any time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from actors.engines.contract import EngineSettings
from actors.models.identity import bound
from actors.sandbox.contract import SandboxSettings
from storage.bounds import STRICT, Positive
from storage.errors import ConfigurationError
from storage.runs.layout import DEFAULT_STORE
from workflows.road import StageSpec, model_roles
from workflows.runs.configuration import ClusterSettings
from workflows.schedule.floor import FloorSetting
from workflows.settings import StageSettings
from workflows.stages import road_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """The models of a build: one for each role of its road."""

    __pydantic_config__ = STRICT

    policy: EngineSettings | None = None
    """Samples the solutions."""
    completer: EngineSettings | None = None
    """Rolls out from every step."""
    prover: EngineSettings | None = None
    """Rolls out from every step too, where another model than the completer is to say what a step
    is worth."""
    rationale: EngineSettings | None = None
    """Writes analyses and code, and judges."""
    judge: EngineSettings | None = None
    """Judges without code, and repairs steps."""


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
    store: str = DEFAULT_STORE
    """Object store: file:FOLDER, s3://BUCKET/PREFIX."""
    shard_size: Positive = 64
    """Problems in one shard: the unit of work, of commit and of what a crash can cost."""
    models: ModelSettings
    stages: StageSettings = field(default_factory=StageSettings)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    floor: FloorSetting = 0.05
    """The run stops, with three texts that show why, where a stage can use less than this share of
    the texts that its model wrote (at least 48, of 16 requests): solutions without a box or without
    steps, verifications of another form, texts that don't end. What is merely wrong is of use.
    `off`: it goes on."""
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    format: Literal[1] = 1
    """Version of this file's format."""

    @property
    def road(self) -> tuple[StageSpec, ...]:
        """The stages of the run. Raises ConfigurationError."""
        return road_of(self.stages.road)

    @property
    def engines(self) -> dict[str, EngineSettings]:
        """Role -> engine, for the roles of the road. Raises ConfigurationError."""
        return {role: self.engine(role) for role in model_roles(self.road)}

    @property
    def runs_code(self) -> bool:
        """Whether a stage of the road needs the sandbox."""
        return any(stage.runs_code for stage in self.road)

    def engine(self, role: str) -> EngineSettings:
        """The engine of a role. Raises ConfigurationError where it is not set."""
        settings: EngineSettings | None = getattr(self.models, role)
        if settings is None:
            stages = ", ".join(stage.name for stage in self.road if stage.role == role)
            raise ConfigurationError(
                f"`models.{role}` is missing: add it, or leave {stages} out of `stages.road`"
            )
        return settings


def binding(config: BuildConfig) -> dict[str, Any]:
    """The settings that the result depends on, as plain values.

    Models are named apart (`actors.models.identity.model_identity`): by name or by what their files
    hold, not by where a clone of the project happens to lie. Which problems are left out is in the
    input's digest.
    """
    stages = asdict(config.stages)
    del stages["answers"]["unusual"]
    return {
        "limit": config.limit,
        "stages": stages,
        "sandbox_limits": asdict(config.sandbox.limits),
        "engines": {role: bound(engine) for role, engine in config.engines.items()},
    }
