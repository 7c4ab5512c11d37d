"""Build: from problems to a finished dataset, started, continued or found finished.

    start_run     configuration and problems into the store, once
    continue_run  whatever is not committed yet, on a cluster (`workflows.runs.driving`)
    finish        `_SUCCESS.json` and the dataset's folder

Invariant: everything that decides the result is in the run's spec before any work starts; what is
left to do is found by listing commits, so that starting, continuing and repeating are one path.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from storage.datasets.dataset import assemble
from storage.errors import ConfigurationError, NothingFound
from storage.objects.store import ObjectStore
from storage.rows.kinds import EXAMPLES, GIVEN, PROBLEMS
from storage.rows.records import Drop, Given, Problem
from storage.runs.layout import launch_key
from storage.runs.run import Run, Success
from storage.runs.specs import Spec, input_digest
from workflows.answers import check_reference
from workflows.builds.configuration import BuildConfig, binding
from workflows.estimation.pilot import fitted_chain, store_chain
from workflows.inputs.given import GivenSolutions, read_given
from workflows.inputs.problems import Checked, checked_problems
from workflows.road import INPUT_STAGE
from workflows.runs.checks import Finding, attempt
from workflows.runs.starting import begin, spec_of
from workflows.settings import StageSettings
from workflows.stages import described, road_of, stages_named
from workflows.stages.given import Ungiven


@dataclass(frozen=True, slots=True)
class Planned:
    """What a run would be, before anything of it is stored."""

    spec: Spec
    problems: list[Problem]
    dropped: tuple[Drop, ...] = ()
    """Problems of the file that are left out."""
    said: tuple[str, ...] = ()
    """How the file was read, and what is left out or doubtful of it."""
    given: tuple[Given, ...] = ()
    """The solutions that take the place of sampled ones."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files of a configuration, read."""

    checked: Checked
    given: GivenSolutions | None

    @property
    def said(self) -> tuple[str, ...]:
        """How they were read, a line each."""
        return (*self.checked.said, *([self.given.said] if self.given else []))


def inputs_of(config: BuildConfig) -> Inputs:
    """The problems of a configuration, and the solutions that it gives. Raises InputError."""
    checked = checked_problems(
        config.problems,
        config.limit,
        check_reference,
        config.stages.answers.unusual,
        columns=config.columns,
        leave_out=config.leave_out,
    )
    given = read_given(config.solutions, checked.problems) if config.solutions else None
    return Inputs(checked, given)


def check_inputs(config: BuildConfig, read: list[Inputs] | None = None) -> Finding:
    """Whether problems and solutions can be read; appends them to `read`."""

    def look() -> str:
        inputs = inputs_of(config)
        if read is not None:
            read.append(inputs)
        dropped, given = len(inputs.checked.dropped), inputs.given
        left_out = f", {dropped:,} left out" if dropped else ""
        beside = f"; {given.said}" if given else ""
        return f"{len(inputs.checked.problems):,} in {config.problems}{left_out}{beside}"

    return attempt(PROBLEMS.stage, look, "stepmill problems FILE says more of a file")


def planned(config: BuildConfig, image_digest: str | None, inputs: Inputs | None = None) -> Planned:
    """Freeze what the result depends on; `inputs`: its files, where they were read already.

    Raises InputError for a bad file of problems and ConfigurationError for a budget that can't
    give the labels.
    """
    check_settings(config.stages)
    if (config.solutions is None) != (GIVEN.stage not in config.stages.road):
        raise ConfigurationError("`stages.road` has `given` just where `solutions` is set")
    inputs = inputs or inputs_of(config)
    problems = inputs.checked.problems
    for stage in stages_named(config.stages.road):
        stage.check_input(config.stages, problems)
    road = (INPUT_STAGE, *config.stages.road)
    spec = spec_of(config, binding(config), road, problems, image_digest)
    solutions = inputs.given.by_problem if inputs.given else ()
    if solutions:
        spec = replace(spec, input_digest=input_digest([*problems, *solutions]))
    return Planned(spec, problems, inputs.checked.dropped, inputs.said, solutions)


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


def start_run(config: BuildConfig, store: ObjectStore, image_digest: str | None) -> Run:
    """Create the run of `config`, or open it where it exists with the same spec.

    Raises as `planned` and `create_run` do.
    """
    return create_run(config, store, planned(config, image_digest))


def create_run(
    config: BuildConfig,
    store: ObjectStore,
    wanted: Planned,
    before_input: Callable[[Run], None] = lambda run: None,
) -> Run:
    """Store what was planned; `before_input` may commit problems that need not be stored again.

    Raises SpecMismatch, with the fields that differ, and ConfigurationError for a budget whose
    pilot says no.
    """
    completer = wanted.spec.models.get("completer", "")
    chain = fitted_chain(store, config.run, completer, config.stages)
    run = begin(config, wanted.spec, store)
    store_chain(run, chain)
    _store_given(run, wanted)  # before the input, whose end says that the run can go on
    before_input(run)
    run.store_input(wanted.problems, wanted.dropped)
    return run


def _store_given(run: Run, wanted: Planned) -> None:
    """Commit the solutions that are given, each shard with those of its problems."""
    if not wanted.given:
        return
    solved = {row.problem_id: row for row in wanted.given}
    done = run.shards_of(GIVEN.stage)
    for shard, problems in run.spec.plan.cut(wanted.problems):
        if shard not in done:
            names = [problem.problem_id for problem in problems]
            rows = [solved[name] for name in names if name in solved]
            drops = [Drop(name, Ungiven.NO_SOLUTION) for name in names if name not in solved]
            run.publish(GIVEN, shard, rows, drops)


def stored_configuration(store: ObjectStore, run: str) -> dict[str, Any]:
    """The configuration that the run was first started with, as plain values."""
    try:
        data: dict[str, Any] = json.loads(store.get(launch_key(run)))
    except NothingFound:
        raise NothingFound(f"no run {run!r} in {store.url} that could be continued") from None
    return data


def finish(run: Run, on_step: Callable[[str], None] = lambda step: None) -> Success:
    """Seal the run and lay out its dataset, if its road makes one. Repeating changes nothing."""
    on_step("sealing the run")
    success = run.finish()
    if EXAMPLES.stage in run.spec.stages:
        on_step("writing the dataset")
        assemble(run, stages=described(run.spec.stages))
    return success
