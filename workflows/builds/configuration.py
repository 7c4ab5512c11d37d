"""The configuration of a build, and that of the pilot that a build makes for itself.

A pilot is a run of its own in the same store, over the first problems of the same input. It samples
as the build does, and rolls out every state with twice the build's K, so that its halves can be
compared (see `workflows.estimation.gate`). Its name has a digest of its spec. A refused build finds
it again under another `delta`, and builds that differ in their labels alone share it.

Invariant: `binding` holds the settings that the result depends on. The run's spec stores them, and
they may not change when a run continues. All others may change at any time: `ClusterSettings`, how
an engine runs, where the store is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import WrapValidator

from actors.engines.contract import EngineSettings
from actors.models.identity import bound
from actors.sandbox.contract import SandboxSettings
from storage.bounds import STRICT, Positive
from storage.errors import ConfigurationError
from storage.rows.kinds import PATHS, PROBLEMS, ROLLOUTS, Rows
from storage.rows.records import Problem
from storage.runs.run import Run
from workflows.answers import check_reference
from workflows.inputs.problems import checked_problems
from workflows.road import StageSpec
from workflows.runs.configuration import Given, RunConfig
from workflows.runs.starting import planned
from workflows.settings import EstimateSettings, StageSettings
from workflows.stages import road_of, stages_named
from workflows.stages.kit import Stage
from workflows.stages.own_settings import validated_settings

MARGIN = 1.25
"""A pilot's problems, over the number that gives its paths if each problem fills its quota."""
SHARD_SIZE = 4
"""Most problems in a pilot's shard: a pilot is small, and every worker should get a shard."""


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
    takes: ClassVar[Rows[Problem]] = PROBLEMS

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

    @property
    def binding(self) -> dict[str, Any]:
        """The settings that the result depends on, as plain values.

        Models are named apart (`actors.models.identity.model_identity`): by name or by what their
        files hold, not by where a clone of the project happens to lie. Which problems are left out
        is in the input's digest.
        """
        stages = asdict(self.stages)
        del stages["answers"]["unusual"]
        return {
            "limit": self.limit,
            "stages": stages,
            "sandbox_limits": asdict(self.sandbox.limits),
            "engines": {role: bound(engine) for role, engine in self.engines.items()},
        }

    def read_input(self) -> Given:
        """The problems, where the settings can do with them.

        Raises InputError for a bad file and ConfigurationError for settings that contradict each
        other, the road or the problems.
        """
        check_settings(self.stages)
        unusual = self.stages.answers.unusual
        checked = checked_problems(Path(self.problems), self.limit, check_reference, unusual)
        for stage in self.makes:
            stage.check_input(self.stages, checked.problems)
        said = [f"dropped as {one.reason}: {one.item} ({one.detail})" for one in checked.dropped]
        return Given(checked.problems, checked.dropped, said)

    def with_pilot(
        self, begun: Run | None, source: Run | None = None
    ) -> tuple[BuildConfig, BuildConfig | None]:
        """Return the configuration with its pilot named, and the pilot if it is the build's own.

        The pilot is the first of: the one that the settings name, the one that the run began with,
        `source` if it was estimated with `exact`, the build's own. Raises as `planned` does.
        """
        if not self.stages.needs_chain or self.stages.estimate.pilot is not None:
            return self, None
        own: BuildConfig | None = None
        if begun is not None:
            name = begun.spec.configuration["stages"][ROLLOUTS.stage]["pilot"]
        elif source is not None and _exact(source):
            name = source.name
        else:
            own = self.own_pilot()
            name = own.run
        estimate = replace(self.stages.estimate, pilot=name)
        return replace(self, stages=replace(self.stages, estimate=estimate)), own

    def own_pilot(self) -> BuildConfig:
        """The configuration of the build's own pilot. Raises as `planned` does."""
        sample, estimate = self.stages.sample, self.stages.estimate
        per_problem = sample.correct + sample.incorrect
        if sample.select == "all":
            per_problem = sample.first_round
        problems = -int(-MARGIN * estimate.pilot_paths // per_problem)
        pilot = replace(
            self,
            run="pilot",
            limit=min(problems, self.limit or problems),
            shard_size=min(SHARD_SIZE, self.shard_size),
            sandbox=SandboxSettings(),
            stages=StageSettings(
                seed=self.stages.seed,
                road=(PATHS.stage, ROLLOUTS.stage),
                sample=sample,
                answers=self.stages.answers,
                estimate=EstimateSettings(
                    mc_budget="exact",
                    k_hard=2 * estimate.k_hard,
                    k_medium=2 * estimate.k_medium,
                    k_easy=2 * estimate.k_easy,
                    hard_below=estimate.hard_below,
                    easy_from=estimate.easy_from,
                    probe=estimate.probe,
                    temperature=estimate.temperature,
                    top_p=estimate.top_p,
                    top_k=estimate.top_k,
                    max_tokens=estimate.max_tokens,
                ),
            ),
        )
        return replace(pilot, run=f"pilot-{planned(pilot, None).spec.fingerprint[:12]}")


def check_settings(settings: StageSettings) -> None:
    """Refuse settings that contradict each other, or the road. Raises ConfigurationError."""
    stages = stages_named([stage.name for stage in road_of(settings.road)])
    for stage in stages:
        stage.check(settings)
    verifiers = [stage.name for stage in stages if stage.verifies]
    if len(verifiers) > 1:
        raise ConfigurationError(
            f"`stages.road` has {' and '.join(verifiers)}: one of them verifies, leave out the rest"
        )


def _exact(run: Run) -> bool:
    settings: str = run.spec.configuration["stages"][ROLLOUTS.stage]["mc_budget"]
    return ROLLOUTS.stage in run.spec.stages and settings == "exact"
