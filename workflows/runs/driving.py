"""The driver makes a schedule of the shards that a run lacks, and works until all are committed.

Invariant: the driver lists the commits to learn what is left, so that starting, continuing and
repeating are one path.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from storage.errors import BelowFloor, LimitReached, RunStopped, StepmillError
from storage.rows.kinds import handed
from storage.runs.commits import Receipt
from storage.runs.run import Run
from storage.runs.stops import forget_stop, note_stop
from storage.summaries.folding import Folding
from storage.summaries.shards import ShardSet
from workflows.planning.costs import cost_of, rates_of
from workflows.runs.configuration import ClusterSettings, RunConfig
from workflows.schedule.beginning import Begin, UnbegunSchedule
from workflows.schedule.ceiling import Ceiling
from workflows.schedule.cluster import Cluster, SlotsNow
from workflows.schedule.deadlines import Deadlines
from workflows.schedule.driver import Driver
from workflows.schedule.events import Happened, Watch
from workflows.schedule.nodes import ENGINES, WHOLE, Slots, by_node
from workflows.schedule.schedule import RolePlan, Schedule
from workflows.schedule.tolerance import Tolerance

Tell = Callable[[Receipt], None]
"""What is told of a commit."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is: the committed shards of each stage, of how many shards."""

    shards: int
    done: Mapping[str, ShardSet]

    @property
    def finished(self) -> bool:
        """Whether every shard of every stage is committed."""
        return all(len(shards) == self.shards for shards in self.done.values())


def standing(run: Run) -> Standing:
    """List the committed shards of every stage after the input."""
    done = {stage: run.shards_of(stage) for stage in run.spec.stages[1:]}
    return Standing(run.spec.plan.shards, done)


def ceiling_for(config: RunConfig) -> Ceiling | None:
    """The ceiling of a run before its first commit; None where it has no limits."""
    if not config.limits.by_name:
        return None
    cost = cost_of(config.road, rates_of(config.engines, config.prices))
    return Ceiling(config.limits.by_name, cost, config.road)


def bought(run: Run, reason: str) -> str:
    """One line for a run that its ceiling stopped: why, what there is, and how to go on."""
    done, stages = standing(run), run.spec.stages[1:]
    kept = run.totals(stages[-1]).rows
    shards = ", ".join(f"{stage} {len(done.done[stage])}/{done.shards}" for stage in stages)
    return (
        f"{reason}. It bought {kept:,} rows of {stages[-1]}; shards: {shards}. Raise the limit in "
        f"the configuration, and the same command goes on from here"
    )


def schedule_for(
    config: RunConfig,
    state: Standing,
    slots: Slots,
    on_gpus: bool = False,
    kind: type[Schedule] = Schedule,
    ceiling: Ceiling | None = None,
) -> Schedule:
    """Make the schedule of the shards that are left, for a cluster with these engine slots.

    A model role takes its slots from the pool of its own name where the cluster has one. Engines
    share a slot only `on_gpus`. `kind`: UnbegunSchedule for a run that is not stored yet.
    """
    pools = by_node(slots, ENGINES)
    cluster = config.cluster
    roles: dict[str, RolePlan] = {
        role: RolePlan(
            slots=engine_slots(config, role),
            share=config.place_of(role).hundredths if on_gpus else WHOLE,
            parallel=cluster.parallel_shards,
            most=most_workers(config, role),
            pool=role if role in pools else ENGINES,
            most_parallel=cluster.most_parallel_shards,
        )
        for role in config.worker_roles
    }
    most = cluster.cpu_workers or min(cluster.workers_per_role, 1 + state.shards // 500)
    roles["cpu"] = RolePlan(slots=0, parallel=cluster.parallel_shards, most=most)
    return kind(
        config.road,
        state.shards,
        state.done,
        roles,
        slots=pools,
        window=cluster.window,
        attempts=cluster.attempts,
        pause=cluster.retry_pause_s,
        deadlines=Deadlines(cluster.deadline_floor_s, cluster.deadline_factor),
        ceiling=ceiling,
    )


def engine_slots(config: RunConfig, role: str) -> int:
    """Engine slots (GPUs) of one worker of a model role; 0 where no GPU of the cluster is used."""
    settings = config.place_of(role)
    return settings.tensor_parallel if settings.kind == "vllm" else 0


def most_workers(config: RunConfig, role: str) -> int:
    """Most workers of a model role: one alone keeps a server elsewhere busy."""
    remote = config.place_of(role).served
    return config.cluster.workers_per_server if remote else config.cluster.workers_per_role


async def continue_run(
    run: Run,
    config: RunConfig,
    cluster: Cluster,
    slots: Slots,
    watch: Watch,
    slots_now: SlotsNow | None = None,
    on_gpus: bool = False,
    begin: Begin | None = None,
    state: Standing | None = None,
    earlier: Tell | None = None,
) -> None:
    """Work until everything is committed.

    `slots_now` returns the slots that the cluster has later; `on_gpus`: slots are GPUs. `begin`
    stores a run that is not stored yet, once its first engines are open. `state`: what of a stored
    run is committed, where the caller listed it. `earlier`: told these commits, from a thread.
    Raises UserError, StoreRefused, RunStopped, BelowFloor and LimitReached. The reason of the last
    three is stored until the run goes on.
    """
    await asyncio.to_thread(forget_stop, run)
    ceiling = ceiling_for(config)
    stored, kind = begin is None, Schedule if begin is None else UnbegunSchedule
    # Before it is stored nothing of it counts: another run may take the name first. Only what the
    # beginning stores before any shard is given out, the solutions that were given, is no work.
    if not stored:
        shards, given = run.spec.plan.shards, handed(run.spec.stages)
        state = Standing(shards, {given.stage: ShardSet(range(shards))} if given else {})
    elif state is None:
        state = await asyncio.to_thread(standing, run)

    def begin_now() -> None:
        nonlocal stored
        assert begin is not None
        begin()
        stored = True

    folding = Folding(run)

    def happened(event: Happened) -> None:
        if event.what == "committed" and event.receipt is not None:
            folding.note(event.receipt)
            if ceiling is not None:
                ceiling.note(event.receipt)
        watch(event)

    told = [folding.note] if earlier is None else [folding.note, earlier]
    reading: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if ceiling is not None:  # which has to know what is spent before anything begins
        earlier_work = state.done if stored else {}
        await asyncio.to_thread(tell_earlier, run, earlier_work, [ceiling.note, *told])
        happened(Happened("limited", cause=ceiling.said))
    elif earlier is not None:
        reading = telling_earlier(run, state.done, told)
    driver = Driver(
        schedule_for(config, state, slots, on_gpus, kind, ceiling),
        cluster,
        happened,
        slots_now=slots_now,
        tolerance=tolerance_of(run, config.cluster),
        run=run.name,
        pause=config.cluster.retry_pause_s,
        place_patience_s=config.cluster.place_patience_s,
        begin=None if stored else begin_now,
    )
    try:
        with folding, reading:
            await driver.drive()
    except (BelowFloor, RunStopped) as error:
        if stored:
            await asyncio.to_thread(note_stop, run, str(error))
        raise
    except LimitReached as error:
        line = await asyncio.to_thread(bought, run, str(error))
        if stored:
            await asyncio.to_thread(note_stop, run, line)
        raise LimitReached(line) from None


def tell_earlier(
    run: Run,
    done: Mapping[str, Collection[int]],
    told: Sequence[Tell],
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Read the commits of `done` (stage -> shards) once, and tell each to all who want to know."""
    for stage, shards in done.items():
        for receipt in run.receipts(stage, shards) if shards else ():
            if stopped():
                return
            for tell in told:
                tell(receipt)


@contextlib.contextmanager
def telling_earlier(
    run: Run, done: Mapping[str, Collection[int]], told: Sequence[Tell]
) -> Iterator[None]:
    """Within this block, `tell_earlier` in a thread.

    A store that fails ends the reading: the work itself says so.
    """
    stopped = threading.Event()

    def read() -> None:
        with contextlib.suppress(StepmillError):
            tell_earlier(run, done, told, stopped.is_set)

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
