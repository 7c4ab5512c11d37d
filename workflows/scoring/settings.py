"""The configuration of scoring: which verifier, how it verifies, and what a score run depends on.

Invariant: `binding` is all that the rewards depend on beside input, model and sandbox image; it is
frozen into the run's spec. The rest only says where and how fast.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from actors.engines.contract import EngineSettings
from actors.models.identity import bound
from storage.bounds import STRICT, Positive
from workflows.formats.verification import EXECUTING, VerifySettings
from workflows.inputs.responses import Unheaded
from workflows.road import StageSpec
from workflows.runs.configuration import RunConfig
from workflows.stages.kit import Stage
from workflows.stages.score import SCORE


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreModels:
    """The model of a score run."""

    __pydantic_config__ = STRICT

    verifier: EngineSettings
    """Judges every step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig(RunConfig):
    """Everything that scoring needs."""

    __pydantic_config__ = STRICT

    responses: str
    """File or folder of responses (JSON, JSON lines or Parquet)."""
    limit: Positive | None = None
    """Take only the first so many responses."""
    unheaded: Unheaded = "blank_lines"
    """Where a `solution` without step headers is cut: at its blank lines, or nowhere
    (`one_step`)."""
    models: ScoreModels
    verify: VerifySettings = field(default_factory=VerifySettings)
    format: Literal[1] = 1
    """Version of this file's format."""

    @property
    def road(self) -> tuple[StageSpec, ...]:
        """The one stage of the run."""
        return (replace(SCORE.spec, runs_code=self.verify.mode in EXECUTING),)

    @property
    def makes(self) -> tuple[Stage, ...]:
        """That stage."""
        return (SCORE,)

    @property
    def settings(self) -> VerifySettings:
        """What its stage is told."""
        return self.verify


def binding(config: ScoreConfig) -> dict[str, Any]:
    """The settings that the rewards depend on, as plain values."""
    return {
        "limit": config.limit,
        "verify": asdict(config.verify),
        "sandbox_limits": asdict(config.sandbox.limits),
        "engines": {"verifier": bound(config.models.verifier)},
    }
