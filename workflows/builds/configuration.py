"""The configuration of a build as a frozen value, and which part of it the result depends on.

Invariant: `binding` is what a run's result depends on: it is frozen into the run's spec and may
never differ on continuing. Everything else (`ClusterSettings`, how an engine is run, where the
store lies) only says where and how fast the work is done, and may change at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import WrapValidator

from actors.engines.contract import EngineSettings
from actors.models.identity import bound
from storage.bounds import STRICT, Positive
from workflows.formats.prompt_files import digest_of
from workflows.road import StageSpec
from workflows.runs.configuration import RunConfig
from workflows.settings import StageSettings
from workflows.stages import road_of, stages_named
from workflows.stages.kit import Stage
from workflows.stages.own_settings import validated_settings


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
class BuildConfig(RunConfig):
    """Everything a build needs."""

    __pydantic_config__ = STRICT

    problems: str
    """JSON lines or Parquet file with problem_id, problem, answer; relative to this file."""
    limit: Positive | None = None
    """Take only the first so many problems."""
    shard_size: Positive = 64
    """Problems in one shard: the unit of work, of commit and of what a crash can cost."""
    models: ModelSettings
    stages: Annotated[StageSettings, WrapValidator(validated_settings)] = field(
        default_factory=StageSettings
    )
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Folder of prompts to ask in the place of ours, NAME.jinja each (`stepmill prompts` lists them
    and writes today's); relative to this file. The run keeps their texts."""
    format: Literal[1] = 1
    """Version of this file's format."""

    @property
    def road(self) -> tuple[StageSpec, ...]:
        """The stages of the run. Raises ConfigurationError."""
        return road_of(self.stages.road)

    @property
    def makes(self) -> tuple[Stage, ...]:
        """The stages of the road."""
        return stages_named(self.stages.road)

    @property
    def settings(self) -> StageSettings:
        """What its stages are told."""
        return self.stages

    @property
    def texts(self) -> Mapping[str, str]:
        """`prompts`."""
        return self.prompts

    @property
    def heal(self) -> bool:
        """`stages.heal`."""
        return self.stages.heal


def binding(config: BuildConfig) -> dict[str, Any]:
    """The settings that the result depends on, as plain values.

    Models are named apart (`actors.models.identity.model_identity`): by name or by what their files
    hold, not by where a clone of the project happens to lie. Which problems are left out is in the
    input's digest.
    """
    stages = asdict(config.stages)
    del stages["answers"]["unusual"]
    prompts = {name: digest_of(text) for name, text in config.prompts.items()}
    return ({"prompts": prompts} if prompts else {}) | {
        "limit": config.limit,
        "stages": stages,
        "sandbox_limits": asdict(config.sandbox.limits),
        "engines": {role: bound(engine) for role, engine in config.engines.items()},
    }
