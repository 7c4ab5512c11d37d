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

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal, TypeGuard

from pydantic import WrapValidator

from actors.engines.contract import EngineSettings
from actors.models.identity import bound
from actors.sandbox.contract import SandboxSettings
from storage.bounds import STRICT, Plain, Positive
from storage.errors import ConfigurationError, Removed
from storage.rows.kinds import PATHS, PROBLEMS, ROLLOUTS, Rows, handed
from storage.rows.records import Problem
from storage.runs.run import Run
from workflows.answers import check_reference
from workflows.builds.growth import OF_THE_INPUT
from workflows.builds.handed import check_handed
from workflows.formats import prompts
from workflows.formats.prompt_files import check_texts, digest_of
from workflows.formats.templates import used_by
from workflows.inputs.given import read_given, read_reused
from workflows.inputs.problems import checked_problems
from workflows.inputs.shapes import Columns
from workflows.planning.costs import check_spending
from workflows.road import StageSpec
from workflows.runs.configuration import Given, RunConfig
from workflows.runs.starting import differing, planned
from workflows.settings import EstimateSettings, LeaveOutSettings, StageSettings
from workflows.stages import road_of, stages_named
from workflows.stages.kit import Stage
from workflows.stages.own_settings import validated_settings

MARGIN = 1.25
"""A pilot's problems, over the number that gives its paths if each problem fills its quota."""
SHARD_SIZE = 4
"""Most problems in a pilot's shard: a pilot is small, and every worker should get a shard."""
UNSET = (("sample", "reuse_rollouts"), ("estimate", "keep_texts"))
"""Settings that a spec has only where they are on, so that names made of it stay as they were."""


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
    verifier: EngineSettings | None = None
    """Says whether the judge's reasons are real (stage `metaverify`): a second model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildConfig(RunConfig):
    """The settings of a build: its input, its models and its stages."""

    __pydantic_config__ = STRICT
    takes: ClassVar[Rows[Problem]] = PROBLEMS

    problems: Plain
    """File of problems, relative to this file: JSON lines, JSON, CSV, TSV or Parquet, also .gz or
    .zst; a folder or pattern of such files; s3://BUCKET/KEY; hf://datasets/NAME (docs/problems.md).
    """
    columns: Columns = field(default_factory=dict)
    """What the columns are called where they have none of the known names: `{problem: question,
    answer: gold}`. Without an answer it is the last box of `reference_solution`."""
    leave_out: LeaveOutSettings = field(default_factory=LeaveOutSettings)
    solutions: Plain | None = None
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
        """The settings that its stages read."""
        return self.stages

    @property
    def texts(self) -> Mapping[str, str]:
        """`prompts`."""
        return self.prompts

    @property
    def heal(self) -> bool:
        """`stages.heal`."""
        return self.stages.heal

    @property
    def binding(self) -> dict[str, Any]:
        """The settings that the result depends on, as JSON values.

        The spec names models elsewhere, by name or content (`actors.models.identity`). The input's
        digest covers which problems are left out.
        """
        stages = asdict(self.stages)
        del stages["answers"]["unusual"]
        for group, name in UNSET:
            if not stages[group][name]:
                del stages[group][name]
        digests = {name: digest_of(text) for name, text in self.prompts.items()}
        return ({"prompts": digests} if digests else {}) | {
            "limit": self.limit,
            "stages": stages,
            "sandbox_limits": asdict(self.sandbox.limits),
            "engines": {role: bound(engine) for role, engine in self.engines.items()},
        }

    def read_input(self) -> Given:
        """Read the problems, and the solutions if given. Raises InputError for a bad file."""
        checked = checked_problems(
            self.problems,
            self.limit,
            check_reference,
            self.stages.answers.unusual,
            columns=self.columns,
            leave_out=self.leave_out,
        )
        if self.solutions is None:
            return Given(checked.problems, checked.dropped, checked.said)
        reader = read_reused if self.stages.sample.reuse_rollouts else read_given
        read = reader(self.solutions, checked.problems)
        lines = (*checked.said, read.said)
        return Given(checked.problems, checked.dropped, lines, read.by_problem)

    def check_input(self, given: Given) -> None:
        """Refuse settings that contradict each other, the road or the problems.

        Raises ConfigurationError.
        """
        check_settings(self.stages)
        check_prompts(self)
        check_base_policy(self)
        named = {of.name: getattr(self.models, of.name) for of in fields(self.models)}
        models = {role: engine for role, engine in named.items() if engine is not None}
        check_spending(self.limits, self.prices, models)  # a pilot's road needs only some of them
        check_handed(self.stages, self.solutions, given.solutions)
        for stage in self.makes:
            stage.check_input(self.stages, given.rows)

    def with_pilot(
        self, begun: Run | None, source: Run | None = None
    ) -> tuple[BuildConfig, BuildConfig | None]:
        """Return the configuration with its pilot named, and the pilot if it is the build's own.

        The pilot is the first of: the one that the settings name, the one that the run began with,
        `source` if it was estimated with `exact`, that of `source` if the build's own would differ
        from it in nothing but its problems, the build's own. Raises as `planned` does.
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
            if source is not None and _is_like(pilot := _pilot_of(source), own):
                own, name = None, pilot.name
        estimate = replace(self.stages.estimate, pilot=name)
        return replace(self, stages=replace(self.stages, estimate=estimate)), own

    def own_pilot(self) -> BuildConfig:
        """The configuration of the build's own pilot. Raises as `planned` does."""
        sample, estimate = self.stages.sample, self.stages.estimate
        per_problem = sample.correct + sample.incorrect
        if sample.select == "all":
            per_problem = sample.first_round
        kind = handed(self.stages.road)
        problems = -int(-MARGIN * estimate.pilot_paths // per_problem)
        pilot = replace(
            self,
            run="pilot",
            limit=min(problems, self.limit or problems),
            shard_size=min(SHARD_SIZE, self.shard_size),
            sandbox=SandboxSettings(),
            stages=StageSettings(
                seed=self.stages.seed,
                road=(*((kind.stage,) if kind else ()), PATHS.stage, ROLLOUTS.stage),
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


def _pilot_of(run: Run) -> Run | None:
    """The finished pilot that a run was started with; None where it has none, or no more."""
    name = run.spec.section("stages").get(ROLLOUTS.stage, {}).get("pilot")
    try:
        pilot = Run.find(run.store, name) if name else None
    except Removed:
        return None
    return pilot if pilot is not None and pilot.success() else None


def _is_like(pilot: Run | None, own: BuildConfig) -> TypeGuard[Run]:
    """Whether a pilot differs from a build's own in nothing but its problems."""
    if pilot is None:
        return False
    found = differing(pilot.spec, planned(own, None).spec)
    return all(difference.name in OF_THE_INPUT for difference in found)


def check_settings(settings: StageSettings) -> None:
    """Refuse settings that contradict each other, or the road. Raises ConfigurationError."""
    stages = stages_named([stage.name for stage in road_of(settings.road)])
    for stage in stages:
        stage.check(settings)
    sample = settings.sample
    if sample.first_round > sample.cap and PATHS.stage in settings.road:
        raise ConfigurationError(
            f"`sample.first_round: {sample.first_round}` is more than `sample.cap: {sample.cap}`, "
            "the most samples of a problem: lower it, or raise the cap"
        )
    verifiers = [stage.name for stage in stages if stage.verifies]
    if len(verifiers) > 1:
        raise ConfigurationError(
            f"`stages.road` has {' and '.join(verifiers)}: one of them verifies, leave out the rest"
        )


def check_base_policy(config: BuildConfig) -> None:
    """Refuse a prover beside a Q that is not the base policy's own. Raises ConfigurationError.

    Given solutions come from no model of the run, so nothing is compared then.
    """
    policy, completer = config.models.policy, config.models.completer
    if config.stages.label.prover == "none" or policy is None or completer is None:
        return
    if (policy.kind, policy.model, policy.revision) != (
        completer.kind, completer.model, completer.revision,
    ):  # fmt: skip
        raise ConfigurationError(
            "`label.prover` stands beside the base policy's own Q, and `models.completer` is "
            f"{completer.model}: give it the model of `models.policy`, {policy.model}; another "
            "model is a prover (`label.prover: model`, `models.prover`)"
        )


def check_prompts(config: BuildConfig) -> None:
    """Refuse prompts that can't be used, or that contradict the settings.

    Raises ConfigurationError.
    """
    check_texts(config.prompts)
    stages, usual = config.stages, StageSettings()
    twice = (
        (prompts.SOLVER, "sample", stages.sample.system != usual.sample.system),
        (prompts.RATIONALE_WRITER, "rationalize", stages.rationalize.system is not None),
    )
    for prompt, stage, is_set in twice:
        if is_set and prompt.name in config.prompts:
            raise ConfigurationError(
                f"`stages.{stage}.system` and the prompt {prompt.name} say the same: leave one out"
            )
    for name in ("critique", "resolve", "align", "meta", "merge"):
        for seen in ("answer", "reference_solution"):
            text = config.prompts.get(name)
            if seen in stages.judge.sees and text is not None and seen not in used_by(text):
                raise ConfigurationError(
                    f"`prompts`: {name}.jinja does not show `{seen}`, which `stages.judge.sees`"
                )


def _exact(run: Run) -> bool:
    settings: str = run.spec.configuration["stages"][ROLLOUTS.stage]["mc_budget"]
    return ROLLOUTS.stage in run.spec.stages and settings == "exact"
