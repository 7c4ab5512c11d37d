"""The configuration of solving: policy and verifier, the search, and what a run of it depends on.

Invariant: `binding` has all settings that the answers depend on, beside input, models and sandbox
image. All other settings change only place and speed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

from actors.engines.contract import EngineSettings
from actors.models.identity import bound, model_identity
from storage.bounds import STRICT, Positive
from storage.errors import ConfigurationError
from storage.rows.kinds import PROBLEMS, Rows
from storage.rows.records import Problem
from workflows.answers import check_reference
from workflows.formats.verification import EXECUTING, READ, VerifySettings, bound_verification
from workflows.inputs.questions import read_questions
from workflows.road import StageSpec
from workflows.runs.configuration import Given, RunConfig
from workflows.scoring.settings import check_verifier
from workflows.settings import AnswerSettings
from workflows.settings.solving import SolveSettings
from workflows.stages.kit import Stage
from workflows.stages.solve import SOLVE, SolvingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveModels:
    """The models of a run that solves problems."""

    __pydantic_config__ = STRICT

    policy: EngineSettings
    """Writes the solutions."""
    verifier: EngineSettings | None = None
    """Judges their steps; `majority` needs none."""
    reference: EngineSettings | None = None
    """What an implicit PRM is compared with; None: the base that its folder names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveConfig(RunConfig):
    """The configuration of a run that solves problems."""

    __pydantic_config__ = STRICT
    takes: ClassVar[Rows[Problem]] = PROBLEMS

    problems: str
    """File or folder of problems, with answers or without."""
    limit: Positive | None = None
    """Take only the first so many problems."""
    shard_size: Positive = 8
    """Problems in one shard: the unit of work, of commit and of what a crash can cost."""
    models: SolveModels
    solve: SolveSettings = field(default_factory=SolveSettings)
    verify: VerifySettings = field(default_factory=VerifySettings)
    answers: AnswerSettings = field(default_factory=AnswerSettings)
    format: Literal[1] = 1
    """Version of this file's format."""

    @property
    def judges(self) -> bool:
        """Whether the search asks a verifier."""
        return self.solve.method != "majority"

    @property
    def road(self) -> tuple[StageSpec, ...]:
        """The one stage of the run."""
        spec = SOLVE.spec
        runs_code = self.judges and self.verify.mode in EXECUTING
        return (replace(spec, runs_code=runs_code, beside=spec.beside if self.judges else ()),)

    @property
    def makes(self) -> tuple[Stage, ...]:
        """That stage."""
        return (SOLVE,)

    @property
    def settings(self) -> SolvingSettings:
        """The settings of the run's stage."""
        return SolvingSettings(solve=self.solve, verify=self.verify, answers=self.answers)

    @property
    def heal(self) -> bool:
        """`solve.heal`."""
        return self.solve.heal

    @property
    def binding(self) -> dict[str, Any]:
        """The settings that the answers depend on, as plain values."""
        answers = asdict(self.answers)
        del answers["unusual"]
        return {
            "limit": self.limit,
            "solve": asdict(self.solve),
            **({"verify": bound_verification(self.verify)} if self.judges else {}),
            "answers": answers,
            "sandbox_limits": asdict(self.sandbox.limits),
            "engines": {role: bound(engine) for role, engine in self.engines.items()},
            **({"reference": model_identity(self.reference)} if self.reference else {}),
        }

    @property
    def reads(self) -> str | None:
        """The verifier, where it writes nothing."""
        return "verifier" if self.judges and self.verify.mode == READ else None

    @property
    def reference(self) -> EngineSettings | None:
        """See `SolveModels.reference`."""
        return self.models.reference

    def engine(self, role: str) -> EngineSettings:
        """The engine of a role; of two local ones each has half a GPU, unless it is said.

        Raises ConfigurationError where it is missing.
        """
        engine = super(SolveConfig, self).engine(role)
        both = (self.models.policy, self.models.verifier if self.judges else None)
        local = [each for each in both if each is not None and each.kind == "vllm"]
        shares = len(local) == 2 and engine.gpu_share is None
        return replace(engine, gpu_share=0.5) if shares else engine

    def read_input(self) -> Given:
        """The problems of the file. Raises InputError."""
        rows = read_questions(self.problems, self.limit, check_reference)
        known = sum(bool(problem.answer) for problem in rows)
        return Given(
            rows, said=[f"{self.problems}: {len(rows):,} problems, {known:,} with answers"]
        )

    def check_input(self, given: Given) -> None:
        """Refuse settings that contradict each other. Raises ConfigurationError."""
        solve = self.solve
        if self.verify.prune != "off":
            raise ConfigurationError(
                "`verify.prune` keeps verdicts and not rewards, which a search compares: leave it "
                "out"
            )
        if solve.method in ("beam", "dvts") and solve.width > solve.n:
            raise ConfigurationError(
                f"`solve.width` {solve.width} is more than `solve.n` {solve.n}: a round samples n "
                "steps, `width` for each beginning; lower one or raise the other"
            )
        local = [self.engine(role) for role in self.engines if self.engine(role).kind == "vllm"]
        if len(local) == 2 and sum(engine.hundredths for engine in local) > 100:
            raise ConfigurationError(
                "policy and verifier share one GPU: lower `gpu_share` of both to 1 together, or "
                "put one of them behind a server (`kind: endpoint`)"
            )

    def check_models(self) -> None:
        """See `workflows.scoring.settings.check_verifier`."""
        if self.judges:
            check_verifier(self.engine("verifier"), self.verify.mode)
