"""The configuration of scoring: the verifier, how it verifies, and what a score run depends on.

Invariant: `binding` has all settings that the rewards depend on, beside input, model and sandbox
image. The run's spec freezes it. All other settings change only place and speed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from actors.engines.contract import EngineSettings
from actors.engines.rendering import ChatRenderer
from actors.models.identity import bound, model_identity
from actors.models.rewards import reward_model_of
from storage.bounds import STRICT, Positive
from storage.errors import InputError
from storage.rows.kinds import RESPONSES, Rows
from storage.rows.records import Response
from workflows.formats.verification import (
    EXECUTING,
    READ,
    Mode,
    VerifySettings,
    bound_verification,
    check_verdicts,
)
from workflows.inputs.responses import Unheaded, read_responses
from workflows.road import StageSpec
from workflows.runs.configuration import Given, RunConfig
from workflows.stages.kit import Stage
from workflows.stages.score import SCORE


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreModels:
    """The model of a score run."""

    __pydantic_config__ = STRICT

    verifier: EngineSettings
    """Judges every step."""
    reference: EngineSettings | None = None
    """What an implicit PRM is compared with; None: the base that its folder names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig(RunConfig):
    """The configuration of a score run."""

    __pydantic_config__ = STRICT
    takes: ClassVar[Rows[Response]] = RESPONSES

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
        """The settings of the run's stage."""
        return self.verify

    @property
    def binding(self) -> dict[str, Any]:
        """The settings that the rewards depend on, as plain values."""
        compared = self.reference and {"reference": model_identity(self.reference)}
        return {
            "limit": self.limit,
            "verify": bound_verification(self.verify),
            "sandbox_limits": asdict(self.sandbox.limits),
            "engines": {"verifier": bound(self.models.verifier)},
        } | (compared or {})

    @property
    def reads(self) -> str | None:
        """The verifier, where it writes nothing."""
        return "verifier" if self.verify.mode == READ else None

    @property
    def reference(self) -> EngineSettings | None:
        """See `ScoreModels.reference`."""
        return self.models.reference

    def read_input(self) -> Given:
        """The responses of the file. Raises InputError."""
        rows = read_responses(Path(self.responses), self.limit, self.unheaded)
        steps = sum(len(response.steps) for response in rows)
        single = sum(len(response.steps) == 1 for response in rows)
        summary = f"{self.responses}: {len(rows):,} responses with {steps:,} steps"
        return Given(rows, said=[summary + (f"; {single:,} have a single step" if single else "")])

    def check_models(self) -> None:
        """See `check_verifier`."""
        check_verifier(self.models.verifier, self.verify.mode)


def check_verifier(verifier: EngineSettings, mode: Mode) -> None:
    """Check that a verifier is one, and that its tokenizer, if it has one, can tell verdicts apart.

    One that reads has no verdicts. Raises InputError for a folder whose word on itself is not
    understood, for a tokenizer that can't be loaded, or if Yes or No is no single token in a
    verdict.
    """
    reward_model_of(verifier)
    if mode == READ:
        return
    if verifier.kind == "chat" and verifier.tokenizer is None:
        raise InputError(
            "a verifier behind `kind: chat` needs `models.verifier.tokenizer`, to see that Yes "
            "and No are single tokens: name the model's"
        )
    if verifier.kind != "scripted":
        renderer = ChatRenderer.load(verifier)
        renderer.close()  # only its tokenizer is needed
        check_verdicts(renderer.spell, verifier.tokenizer or verifier.model)
