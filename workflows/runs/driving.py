"""The driver makes a schedule of the shards that a run lacks, and works until all are committed.

Invariant: the driver lists the commits to learn what is left, so that starting, continuing and
repeating are one path.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from storage.errors import BelowFloor, RunStopped, StepmillError
from storage.runs.commits import Receipt, receipt_of
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
    """How far a run is: the committed shards of each stage, of how many shards."""

    shards: int
    done: Mapping[str, frozenset[int]]

    @property
    def finished(self) -> bool:
        """Whether every shard of every stage is committed."""
        return all(len(shards) == self.shards for shards in self.done.values())


def standing(run: Run) -> Standing:
    """List the committed shards of every stage after the input, with one request a stage."""
    done = {stage: frozenset(run.shards_of(stage)) for stage in run.spec.stages[1:]}
    return Standing(run.spec.plan.shards, done)


def schedule_for(
    config: RunConfig, state: Standing, slots: Slots, on_gpus: bool = False
) -> Schedule:
    """Make the schedule of the shards that are left, for a cluster with these engine slots.

    A model role takes its slots from the pool of its own name where the cluster has one. Engines
    share a slot only `on_gpus`.
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
        state.shards,
        state.done,
        roles,
        slots=pools,
        window=cluster.window,
        attempts=cluster.attempts,
        pause=cluster.retry_pause_s,
        deadlines=Deadlines(cluster.deadline_floor_s, cluster.deadline_factor),
    )


def engine_slots(config: RunConfig, role: str) -> int:
    """Engine slots (GPUs) of one worker of a model role; 0 where no GPU of the cluster is used."""
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
    """Work until everything is committed.

    `slots_now` returns the slots that the cluster has later; `on_gpus`: slots are GPUs. Raises
    UserError, StoreRefused, RunStopped and BelowFloor. The reason of the last two is stored until
    the run goes on.
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


@contextlib.contextmanager
def telling_earlier(
    run: Run, done: Mapping[str, Collection[int]], tell: Callable[[Receipt], None]
) -> Iterator[None]:
    """Within this block, read the commits of `done` (stage -> shards) in a thread and tell them.

    A store that fails ends the reading: the work itself says so.
    """
    stopped = threading.Event()

    def read() -> None:
        with contextlib.suppress(StepmillError):
            for stage, shards in done.items():
                for commit in run.commits(stage) if shards else ():
                    if stopped.is_set():
                        return
                    if commit.shard in shards:
                        tell(receipt_of(commit))

    threading.Thread(target=read, name="earlier", daemon=True).start()
    try:
        yield
    finally:
        stopped.set()


def tolerance_of(run: Run, settings: ClusterSettings) -> Tolerance:
    """The shares of dropped items above which the driver stops a run."""
    return Tolerance(
        settings.trouble_share,
        settings.trouble_after,
        settings.exception_share,
        drops_of=lambda receipt: run.commit(receipt.stage, receipt.shard).drops,
    )
