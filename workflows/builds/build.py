"""Build: from problems to a finished dataset, started, continued or found finished.

    start_run     configuration and problems into the store, once
    continue_run  whatever is not committed yet, on a cluster
    finish        `_SUCCESS.json` and the dataset's folder

Invariant: everything that decides the result is in the run's spec before any work starts; what is
left to do is found by listing commits, so that starting, continuing and repeating are one path.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.datasets.dataset import assemble
from storage.errors import BelowFloor, ConfigurationError, NothingFound, RunStopped
from storage.objects.store import ObjectStore
from storage.rows.records import Drop, Problem
from storage.runs.layout import launch_key
from storage.runs.run import Run, Success
from storage.runs.specs import Spec
from storage.runs.stops import forget_stop, note_stop
from workflows.answers import check_reference
from workflows.builds.configuration import BuildConfig, binding
from workflows.estimation.pilot import fitted_chain, store_chain
from workflows.inputs.problems import checked_problems
from workflows.road import INPUT_STAGE
from workflows.runs.configuration import ClusterSettings
from workflows.runs.starting import begin, spec_of
from workflows.runs.workload import Workload
from workflows.schedule.cluster import Cluster, SlotsNow
from workflows.schedule.crews import ENGINES
from workflows.schedule.deadlines import Deadlines
from workflows.schedule.driver import Driver, Watch
from workflows.schedule.nodes import WHOLE, Slots, by_node
from workflows.schedule.schedule import RolePlan, Schedule
from workflows.schedule.tolerance import Tolerance
from workflows.settings import StageSettings
from workflows.stages import road_of, stages_named


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is: committed shards per stage, and the length of the plan."""

    shards: int
    done: Mapping[str, frozenset[int]]

    @property
    def finished(self) -> bool:
        """Every shard of every stage is committed."""
        return all(len(shards) == self.shards for shards in self.done.values())


@dataclass(frozen=True, slots=True)
class Planned:
    """What a run would be, before anything of it is stored."""

    spec: Spec
    problems: list[Problem]
    dropped: tuple[Drop, ...] = ()
    """Problems of the file that are left out."""


def planned(config: BuildConfig, image_digest: str | None) -> Planned:
    """Read the problems and freeze what the result depends on.

    Raises InputError for a bad file of problems and ConfigurationError for a budget that can't
    give the labels.
    """
    check_settings(config.stages)
    unusual = config.stages.answers.unusual
    checked = checked_problems(Path(config.problems), config.limit, check_reference, unusual)
    for stage in stages_named(config.stages.road):
        stage.check_input(config.stages, checked.problems)
    road = (INPUT_STAGE, *config.stages.road)
    spec = spec_of(config, binding(config), road, checked.problems, image_digest)
    return Planned(spec, checked.problems, checked.dropped)


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
    before_input(run)
    run.store_input(wanted.problems, wanted.dropped)
    return run


def stored_configuration(store: ObjectStore, run: str) -> dict[str, Any]:
    """The configuration that the run was first started with, as plain values."""
    try:
        data: dict[str, Any] = json.loads(store.get(launch_key(run)))
    except NothingFound:
        raise NothingFound(f"no run {run!r} in {store.url} that could be continued") from None
    return data


def standing(run: Run) -> Standing:
    """What is committed, by one listing per stage."""
    done = {stage: frozenset(run.shards_of(stage)) for stage in run.spec.stages[1:]}
    return Standing(run.spec.plan.shards, done)


def schedule_for(
    config: Workload, found: Standing, slots: Slots, on_gpus: bool = False
) -> Schedule:
    """The schedule of what is left, for a cluster with so many engine slots.

    A model role takes its slots from the pool of its own name where the cluster has one. Without
    GPUs (`on_gpus`) nothing shares one.
    """
    pools = by_node(slots, ENGINES)
    cluster = config.cluster
    roles: dict[str, RolePlan] = {
        role: RolePlan(
            slots=engine_slots(config, role),
            share=config.engine(role).hundredths if on_gpus else WHOLE,
            parallel=cluster.parallel_shards,
            most=most_workers(config, role),
            pool=role if role in pools else ENGINES,
            most_parallel=cluster.most_parallel_shards,
        )
        for role in config.engines
    }
    roles["cpu"] = RolePlan(slots=0, parallel=cluster.parallel_shards, most=1)
    return Schedule(
        config.road,
        found.shards,
        found.done,
        roles,
        slots=pools,
        window=cluster.window,
        attempts=cluster.attempts,
        pause=cluster.retry_pause_s,
        deadlines=Deadlines(cluster.deadline_floor_s, cluster.deadline_factor),
    )


def engine_slots(config: Workload, role: str) -> int:
    """Engine slots (GPUs) of one worker of a model role; a server elsewhere needs none here."""
    settings = config.engine(role)
    return settings.tensor_parallel if settings.kind == "vllm" else 0


def most_workers(config: Workload, role: str) -> int:
    """Most workers of a model role: one alone keeps a server elsewhere busy."""
    remote = config.engine(role).kind == "endpoint"
    return config.cluster.workers_per_server if remote else config.cluster.workers_per_role


async def continue_run(
    run: Run,
    config: Workload,
    cluster: Cluster,
    slots: Slots,
    watch: Watch,
    slots_now: SlotsNow | None = None,
    on_gpus: bool = False,
) -> None:
    """Work until everything is committed. Raises UserError, StoreRefused, RunStopped, and
    BelowFloor; why it stopped is then in the store until it goes on.

    `slots_now` says how many slots the cluster has at any later moment; `on_gpus`, whether they are
    GPUs.
    """
    await asyncio.to_thread(forget_stop, run)
    driver = Driver(
        schedule_for(config, standing(run), slots, on_gpus),
        cluster,
        watch,
        slots_now=slots_now,
        tolerance=tolerance_of(run, config.cluster),
        run=run.name,
        pause=config.cluster.retry_pause_s,
        place_patience_s=config.cluster.place_patience_s,
    )
    try:
        await driver.drive()
    except (BelowFloor, RunStopped) as error:
        await asyncio.to_thread(note_stop, run, str(error))
        raise


def tolerance_of(run: Run, wanted: ClusterSettings) -> Tolerance:
    """How much trouble a run puts up with."""
    return Tolerance(
        wanted.trouble_share,
        wanted.trouble_after,
        wanted.exception_share,
        drops_of=lambda receipt: run.commit(receipt.stage, receipt.shard).drops,
    )


def finish(run: Run, on_step: Callable[[str], None] = lambda step: None) -> Success:
    """Seal the run and lay out its dataset, if its road makes one. Repeating changes nothing."""
    on_step("sealing the run")
    success = run.finish()
    if "export" in run.spec.stages:
        on_step("writing the dataset")
        assemble(run)
    return success
