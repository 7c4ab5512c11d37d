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
from actors.sandbox.contract import SandboxSettings
from storage.bounds import STRICT, Positive, Share, Temperature
from storage.runs.layout import DEFAULT_STORE
from workflows.inputs.responses import Unheaded
from workflows.road import StageSpec
from workflows.runs.configuration import ClusterSettings
from workflows.schedule.floor import FloorSetting

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
class ScoreConfig:
    """Everything that scoring needs."""

    __pydantic_config__ = STRICT

    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    """Name of the run: letters, digits, dot, dash, underscore."""
    responses: str
    """File or folder of responses (JSON, JSON lines or Parquet)."""
    limit: Positive | None = None
    """Take only the first so many responses."""
    unheaded: Unheaded = "blank_lines"
    """Where a `solution` without step headers is cut: at its blank lines, or nowhere
    (`one_step`)."""
    store: str = DEFAULT_STORE
    """Object store: file:FOLDER, s3://BUCKET/PREFIX."""
    shard_size: Positive = 32
    """Responses in one shard: the unit of work, of commit and of what a crash can cost."""
    models: ScoreModels
    verify: VerifySettings = field(default_factory=VerifySettings)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    floor: FloorSetting = 0.05
    """Least share of the texts that must be of use, as in a build; `off`: none."""
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    format: Literal[1] = 1
    """Version of this file's format."""

    @property
    def road(self) -> tuple[StageSpec, ...]:
        """The one stage of the run."""
        return (replace(SCORE, runs_code=self.runs_code),)

    @property
    def engines(self) -> dict[str, EngineSettings]:
        """Role -> engine."""
        return {"verifier": self.models.verifier}

    @property
    def runs_code(self) -> bool:
        """Whether the mode needs the sandbox."""
        return self.verify.mode in EXECUTING

    def engine(self, role: str) -> EngineSettings:
        """The engine of a role."""
        return self.engines[role]


def binding(config: ScoreConfig) -> dict[str, Any]:
    """The settings that the rewards depend on, as plain values."""
    return {
        "limit": config.limit,
        "verify": asdict(config.verify),
        "sandbox_limits": asdict(config.sandbox.limits),
        "engines": {"verifier": bound(config.models.verifier)},
    }
