"""How any run begins: the driver stores its spec, its configuration and its input, each once.

Invariant: all that decides the result is in the run's spec before any work starts. Starting again
with the same spec changes nothing, so that starting and continuing are one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from actors.models.identity import model_identity
from actors.sandbox.contract import Limits
from storage.errors import NothingFound
from storage.objects.store import ObjectStore
from storage.rows.kinds import handed, stage_rows
from storage.rows.records import Drop, Problem
from storage.rows.versions import schema_versions
from storage.runs.commits import canonical_json
from storage.runs.documents import MOST_BYTES, parsed
from storage.runs.layout import check_run_name, launch_key, run_prefix
from storage.runs.pilot_record import PilotRecord
from storage.runs.removal import obeyed
from storage.runs.run import Run
from storage.runs.specs import Difference, ShardPlan, Spec, differences, input_digest
from storage.summaries.folding import Folding
from workflows.estimation.pilot import fitted_chain, store_chain
from workflows.formats.refinement import RefineSettings
from workflows.formats.verification import VerifySettings
from workflows.runs.configuration import Given, RunConfig
from workflows.settings import AnswerSettings, StageSettings
from workflows.settings.recorded import named, read
from workflows.settings.solving import SolveSettings
from workflows.stages.given import Ungiven
from workflows.stages.own_settings import settings_class

KINDS: Mapping[str, type[Any]] = {
    "verify": VerifySettings,
    "refine": RefineSettings,
    "solve": SolveSettings,
    "answers": AnswerSettings,
    "sandbox_limits": Limits,
}
"""Part of a run's configuration -> its settings; those of `stages` depend on the road."""
Config = TypeVar("Config", bound=RunConfig)

_UNPACKED = re.compile(r"^/[^\n]*/working_dir_files/_ray_pkg_[^/\n]+(/|$)")
"""Where Ray unpacks the working folder of a job."""


def differing(stored: Spec, asked: Spec) -> list[Difference]:
    """As `differences`, of a stored spec as this version reads it."""
    kinds = {**KINDS, "stages": settings_class(asked.stages)}
    whole, unknown = read(stored.configuration, asked.configuration, kinds)
    found = differences(replace(stored, configuration=whole), asked)
    # Stages of another road may have settings of their own.
    return named(found, unknown) if stored.stages == asked.stages else found


@dataclass(frozen=True, slots=True)
class Planned:
    """The spec and the input of a run that is not stored yet."""

    spec: Spec
    given: Given


def planned(
    config: RunConfig,
    image_digest: str | None,
    rows: Sequence[Any] | Given | None = None,
    before: ShardPlan | None = None,
) -> Planned:
    """Read the input, unless it is given, and make the spec of the run.

    `before`: the plan of the run that this one grows from; this one's begins with its shards.
    Raises InputError for a bad file and ConfigurationError for settings that contradict each other
    or the input.
    """
    given = config.read_input() if rows is None else rows
    if not isinstance(given, Given):
        given = Given(given)
    config.check_input(given)
    stages = (config.takes.stage, *(stage.name for stage in config.road))
    plan = ShardPlan(len(given.rows), config.shard_size)
    if before is not None and before.items_per_shard == config.shard_size:
        plan = before.grown(plan.items)
    spec = Spec(
        configuration=config.binding,
        input_digest=input_digest([*given.rows, *given.solutions]),
        plan=plan,
        models={role: model_identity(engine) for role, engine in config.engines.items()},
        image_digest=image_digest,
        stages=stages,
        schemas=schema_versions(stage_rows(stage).record for stage in stages),
    )
    return Planned(spec, given)


def start_run(
    config: RunConfig,
    store: ObjectStore,
    image_digest: str | None,
    rows: Sequence[Any] | None = None,
) -> Run:
    """Create the run of `config`, or open it where it exists with the same spec.

    Raises as `planned` and `create_run` do.
    """
    return create_run(config, store, planned(config, image_digest, rows))


@dataclass(frozen=True, slots=True)
class Start:
    """A run that can begin: all is checked, and nothing of it is stored."""

    config: RunConfig
    run: Run
    """The run as it will be; its spec is not in the store."""
    given: Given
    chain: PilotRecord | None = None
    """The chain that its labels need, and that is not stored."""
    before_input: Callable[[Run], None] = lambda run: None
    """Called once the run is created; it may commit shards of solutions and input, which are
    then not stored again."""

    def store(self) -> None:
        """Store spec, configuration and input. Repeating it stores what is missing.

        Raises SpecMismatch with the fields that differ, and Removed.
        """
        store, name = self.run.store, self.run.name
        with obeyed(store, run_prefix(name)):
            run = Run.start(store, name, self.run.spec, compare=differing)
            store.put_new(launch_key(name), canonical_json(_portable(asdict(self.config))))
            if self.chain is not None:
                store_chain(run, self.chain)
            self.before_input(run)
            if self.given.solutions:  # before the input, whose end says that the run can go on
                _store_solutions(run, self.given)
            with Folding(run) as folding:
                run.store_input(self.given.rows, self.given.drops, folding.note)


def _portable(value: Any) -> Any:
    """The value without the folder into which a job was unpacked, which is gone with its cluster.

    Paths in it become relative to it.
    """
    if isinstance(value, str):
        return _UNPACKED.sub("./", value)
    if isinstance(value, dict):
        return {name: _portable(part) for name, part in value.items()}
    return [_portable(part) for part in value] if isinstance(value, list | tuple) else value


def start_of(
    config: RunConfig,
    store: ObjectStore,
    plan: Planned,
    before_input: Callable[[Run], None] = lambda run: None,
) -> Start:
    """Make the start of a planned run; nothing is stored.

    Raises ConfigurationError for a name that can't be one, and for a budget that the pilot refuses.
    """
    chain, settings = None, config.settings
    if isinstance(settings, StageSettings) and settings.needs_chain:
        chain = fitted_chain(store, config.run, plan.spec.models.get("completer", ""), settings)
    run = Run(store, check_run_name(config.run), plan.spec)
    return Start(config, run, plan.given, chain, before_input)


def create_run(
    config: RunConfig,
    store: ObjectStore,
    plan: Planned,
    before_input: Callable[[Run], None] = lambda run: None,
) -> Run:
    """Store the spec, the configuration and the input of a planned run, as `start_of` says."""
    start_of(config, store, plan, before_input).store()
    return Run.open(store, config.run)


def _store_solutions(run: Run, given: Given) -> None:
    """Commit the given solutions, in each shard those to the shard's problems."""
    kind = handed(run.spec.stages)
    assert kind is not None  # the configuration was checked
    done = run.shards_of(kind.stage)
    for shard, problems, rows in cut_problems(run.spec.plan, given):
        if shard not in done:
            solved = {row.problem_id for row in rows}
            names = (problem.problem_id for problem in problems)
            drops = [Drop(name, Ungiven.NO_SOLUTION) for name in names if name not in solved]
            run.publish(kind, shard, rows, drops)


def cut_problems(plan: ShardPlan, given: Given) -> Iterator[tuple[int, list[Problem], list[Any]]]:
    """(number, problems, the solutions given for them) of each shard of a build's input."""
    solved = {row.problem_id: row for row in given.solutions}
    for shard, problems in plan.cut(given.rows):
        names = (problem.problem_id for problem in problems)
        yield shard, problems, [solved[name] for name in names if name in solved]


def named_for(config: Config, what: str, rows: Sequence[Any]) -> Config:
    """Return the configuration with the run named `what` plus a hash of what decides the result."""
    models = [model_identity(engine) for engine in config.engines.values()]
    depends = canonical_json([config.binding, *models, input_digest(rows)])
    name = f"{what}-{hashlib.sha256(depends).hexdigest()[:8]}"
    return replace(config, run=re.sub(r"[^\w.-]+", "-", name))


def stored_configuration(store: ObjectStore, run: str) -> dict[str, Any]:
    """The configuration that the run was first started with, as plain values."""
    try:
        data = store.get(launch_key(run), MOST_BYTES)
    except NothingFound:
        raise NothingFound(f"no run {run!r} in {store.url} that could be continued") from None
    return parsed(launch_key(run), data)
