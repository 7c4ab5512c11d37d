"""Driving any run: what is left of it, as a schedule, worked on until everything is committed.

Invariant: what is left to do is found by listing commits: starting, continuing and repeating are
one path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from storage.errors import BelowFloor, RunStopped
from storage.runs.run import Run
from storage.runs.stops import forget_stop, note_stop
from workflows.runs.configuration import ClusterSettings, RunConfig
from workflows.schedule.cluster import Cluster, SlotsNow
from workflows.schedule.deadlines import Deadlines
from workflows.schedule.driver import Driver, Watch
from workflows.schedule.nodes import ENGINES, WHOLE, Slots, by_node
from workflows.schedule.schedule import RolePlan, Schedule
from workflows.schedule.tolerance import Tolerance


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is: committed shards per stage, and the length of the plan."""

    shards: int
    done: Mapping[str, frozenset[int]]

    @property
    def finished(self) -> bool:
        """Every shard of every stage is committed."""
        return all(len(shards) == self.shards for shards in self.done.values())


def standing(run: Run) -> Standing:
    """What is committed, by one listing per stage."""
    done = {stage: frozenset(run.shards_of(stage)) for stage in run.spec.stages[1:]}
    return Standing(run.spec.plan.shards, done)


def schedule_for(
    config: RunConfig, found: Standing, slots: Slots, on_gpus: bool = False
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


def engine_slots(config: RunConfig, role: str) -> int:
    """Engine slots (GPUs) of one worker of a model role; a server elsewhere needs none here."""
    settings = config.engine(role)
    return settings.tensor_parallel if settings.kind == "vllm" else 0


def most_workers(config: RunConfig, role: str) -> int:
    """Most workers of a model role: one alone keeps a server elsewhere busy."""
    remote = config.engine(role).served
    return config.cluster.workers_per_server if remote else config.cluster.workers_per_role


async def continue_run(
    run: Run,
    config: RunConfig,
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
