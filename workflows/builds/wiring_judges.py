"""The wiring of the judge's side, from a run's configuration: panel, formulas, repair and retry.

Invariant: as in `workflows.builds.wiring`: what is wired here follows from the configuration alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from actors.engines.contract import Engine, Sampling
from actors.models.identity import model_identity
from actors.sandbox.contract import Sandbox
from actors.workers.contract import ShardRows, Stage
from storage.errors import ConfigurationError
from storage.rows.records import Judgement, Path, Problem
from workflows.formats.rationale import PaperForm
from workflows.formats.steps import opening
from workflows.judging.ballots import read
from workflows.judging.formal import in_words, programs
from workflows.judging.seats import panel, repair_chat
from workflows.runs.configuration import BuildConfig
from workflows.settings import JudgeSettings, sampling_of
from workflows.stages.consensus import check_sources
from workflows.stages.estimate import Completer, State
from workflows.stages.formalize import FormalVerifier
from workflows.stages.judge import Entering, Judge
from workflows.stages.repair import Repairer, Retrial, Trial


def check_judging(config: BuildConfig) -> None:
    """Raise ConfigurationError for a panel or sources that the road can't have."""
    road = [stage.name for stage in config.road]
    if "judge" in road:
        panel(config.stages.judge)
    if "consensus" in road:
        check_sources(config.stages.consensus, road)
    verifiers = [name for name in road if name in ("rationalize", "formalize", "judge")]
    if len(verifiers) > 1:
        raise ConfigurationError(
            f"`stages.road` has {' and '.join(verifiers)}: one of them verifies, leave out the rest"
        )


def check_references(config: BuildConfig, problems: Sequence[Problem]) -> None:
    """Raise ConfigurationError where a reference solution is to be seen and no problem has one.

    Where only some have one, paths of the others are dropped as `no_reference_solution`.
    """
    road = [stage.name for stage in config.road]
    wanted = {"judge": config.stages.judge.sees, "repair": (config.stages.repair.sees,)}
    for stage, sees in wanted.items():
        if (
            stage in road
            and "reference_solution" in sees
            and not any(problem.reference_solution for problem in problems)
        ):
            raise ConfigurationError(
                f"`{stage}.sees` has reference_solution, and {config.problems} has no problem with "
                "a reference_solution: add them, or let it see less"
            )


def entering(reads: Collection[str]) -> Entering:
    """The paths that enter a stage with these `reads`: selected, and labelled where it can tell."""

    def paths(rows: ShardRows) -> Sequence[Path]:
        labelled = {row.path_id for row in rows.labels}
        return [
            path
            for path in rows.paths
            if path.selected and ("label" not in reads or path.path_id in labelled)
        ]

    return paths


def reads_of(config: BuildConfig, name: str) -> tuple[str, ...]:
    """What a stage of the road reads."""
    return next(stage.reads for stage in config.road if stage.name == name)


def says_something(settings: JudgeSettings, row: Judgement) -> bool:
    """Whether a verification gives labels, of which the judge itself named any."""
    named = row.index is not None or any(verdict is not None for verdict in row.verdicts)
    return named and read(row, settings, len(row.verdicts)) is not None


def judge_stage(config: BuildConfig, engine: Engine) -> Stage:
    """Stage `judge`."""
    wanted = config.stages.judge
    return Judge(
        engine,
        panel=panel(wanted),
        votes=wanted.votes,
        meta=wanted.aggregator == "meta_critique",
        only_wrong=wanted.paths == "wrong",
        readable=partial(says_something, wanted),
        entering=entering(reads_of(config, "judge")),
        sampling=sampling_of(wanted),
        model=model_identity(config.engine("judge")),
        seed=config.stages.seed,
    )


def formal_stage(config: BuildConfig, sandbox: Sandbox) -> Stage:
    """Stage `formalize`."""
    form = PaperForm(config.stages.rationalize.output_chars)
    return FormalVerifier(
        sandbox,
        programs=programs,
        in_words=in_words,
        told=form.code_output,
        entering=entering(reads_of(config, "formalize")),
        limits=config.sandbox.limits,
    )


def repair_stage(config: BuildConfig, engine: Engine) -> Stage:
    """Stage `repair`."""
    wanted = config.stages.repair
    return Repairer(
        engine,
        chat=partial(repair_chat, wanted.sees),
        sampling=Sampling(
            temperature=wanted.temperature, top_p=wanted.top_p, max_tokens=wanted.max_tokens
        ),
        seed=config.stages.seed,
    )


def retry_stage(config: BuildConfig, completer: Completer) -> Stage:
    """Stage `retry`, with the rollouts that `estimate` would make of the same states."""
    wanted = config.stages.repair

    async def go_on(problem: Problem, steps: tuple[str, ...], n: int) -> Trial:
        made = await completer.roll(problem, State(steps, opening(steps)), 0, n)
        return Trial(made.n, made.c, made.tokens, made.seed)

    return Retrial(
        go_on,
        completer.close,
        continuations=wanted.continuations,
        successes=wanted.successes,
    )
