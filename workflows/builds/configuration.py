"""The configuration of a build as a frozen value, and which part of it the result depends on.

Invariant: `binding` is what a run's result depends on: it is frozen into the run's spec and may
never differ on continuing. Everything else (`ClusterSettings`, how an engine is run, where the
store lies) only says where and how fast the work is done, and may change at any time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import WrapValidator

from actors.engines.contract import EngineSettings
from actors.models.identity import bound
from storage.bounds import STRICT, Positive
from workflows.inputs.shapes import Columns
from workflows.road import StageSpec
from workflows.runs.configuration import RunConfig
from workflows.settings import LeaveOutSettings, StageSettings
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
    """File of problems, relative to this file: JSON lines, JSON, CSV, TSV or Parquet, also .gz or
    .zst; a folder or pattern of such files; s3://BUCKET/KEY; hf://datasets/NAME (docs/problems.md).
    """
    columns: Columns = field(default_factory=dict)
    """What the columns are called where they have none of the known names: `{problem: question,
    answer: gold}`. Without an answer it is the last box of `reference_solution`."""
    leave_out: LeaveOutSettings = field(default_factory=LeaveOutSettings)
    solutions: str | None = None
    """File of solutions that exist already, in the forms that `problems` may have: ProcessBench,
    PRM800K, or `problem` (or problem_id) with `steps` or `solution`. They take the place of what
    `sample` would ask the policy for, which then needs no model (docs/problems.md)."""
    limit: Positive | None = None
    """Take only the first so many problems."""
    shard_size: Positive = 64
    """Problems in one shard: the unit of work, of commit and of what a crash can cost."""
    models: ModelSettings
    stages: Annotated[StageSettings, WrapValidator(validated_settings)] = field(
        default_factory=StageSettings
    )
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
    return {
        "limit": config.limit,
        "stages": stages,
        "sandbox_limits": asdict(config.sandbox.limits),
        "engines": {role: bound(engine) for role, engine in config.engines.items()},
    }
