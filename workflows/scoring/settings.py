"""The configuration of scoring: which verifier, how it verifies, and what a score run depends on.

Invariant: `binding` is all that the rewards depend on beside input, model and sandbox image; it is
frozen into the run's spec. The rest only says where and how fast.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from actors.engines.contract import EngineSettings
from actors.models.identity import bound
from storage.bounds import Positive, Share, Temperature
from workflows.inputs.responses import Unheaded
from workflows.road import StageSpec
from workflows.runs.configuration import RunConfig
from workflows.settings import STRICT

Mode = Literal["full", "cot", "code", "code_not_run", "direct"]
EXECUTING: tuple[Mode, ...] = ("full", "code")
"""Modes in which code is run."""
SCORE = StageSpec("score", "verifier", ("responses",), runs_code=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """Stage `score`: how the verifier looks at each step (defaults are GenPRM's)."""

    __pydantic_config__ = STRICT

    mode: Mode = "full"
    """`full`: analysis, then code that is run; `cot`: analysis alone; `code`: code alone;
    `code_not_run`: both, but the code is only written; `direct`: the verdict at once."""
    histories: Positive = 1
    """N of Maj@N: independent verifications, each with its own history; rewards are averaged."""
    rounds: Positive = 3
    """Generation rounds of one step's `<verify>`, with code run in between. A step that still
    writes code in the last one is judged from its analysis alone."""
    max_tokens: Positive = 2048
    """Tokens of one step's turn, code outputs included; a step that needs more is judged from
    its analysis alone, cut where it stands."""
    temperature: Temperature = 0.6
    top_p: Share = 0.95
    top_k: int = 20
    logprobs: Annotated[int, Field(ge=2)] = 20
    """Likeliest tokens that are asked for at the verdict."""
    output_chars: Positive = 2000
    """Most characters of one code output that are fed back."""
    seed: int = 0
    """Seeds of requests derive from (seed, response, history, call)."""


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
        return (replace(SCORE, runs_code=self.verify.mode in EXECUTING),)


def binding(config: ScoreConfig) -> dict[str, Any]:
    """The settings that the rewards depend on, as plain values."""
    return {
        "limit": config.limit,
        "verify": asdict(config.verify),
        "sandbox_limits": asdict(config.sandbox.limits),
        "engines": {"verifier": bound(config.models.verifier)},
    }
