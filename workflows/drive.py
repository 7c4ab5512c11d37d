"""The driver's loop: it applies the schedule's actions to a cluster and tells it what happened.

It holds receipts, never rows. The cluster is a protocol, so that the loop runs and is tested
without Ray. One event costs the same however much is under way.

Invariant: an action that was decided is either applied or reported back to the schedule; when
the loop ends, by success, by an error or by being cancelled, every worker it opened is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from actors.metrics import count, show
from storage.commits import Receipt
from storage.errors import (
    EngineFailed,
    EngineRefused,
    InfrastructureError,
    RunStopped,
    SandboxLost,
    StoreRefused,
    UserError,
    WorkerLost,
)
from workflows.attendance import Attendance
from workflows.schedule import Action, Close, Open, Run, Schedule, ShardExhausted, Task
from workflows.tolerance import Tolerance

POOLS_EVERY_S = 5.0
METRICS_EVERY_S = 5.0
NO_SLOTS_S = 600.0
"""How long a cluster that lost every slot may take to get new ones."""

SlotsNow = Callable[[], Mapping[str, int]]
"""Slots per pool, as the cluster has them at this moment."""


class Cluster(Protocol):
    """Where workers run."""

    async def open(self, worker: int, role: str) -> None:
        """Start a worker; raises WorkerLost or a UserError."""
        ...

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        """Make and commit one shard."""
        ...

    async def isolate(self, worker: int, stage: str, shard: int) -> Receipt:
        """The same, item by item, so that an item that kills is found and dropped."""
        ...

    async def close(self, worker: int) -> None:
        """Stop a worker; never raises."""
        ...


@runtime_checkable
class FindsDead(Protocol):
    """A cluster that looks after its workers, also those on which nothing runs."""

    def found_dead(self) -> Mapping[int, WorkerLost]:
        """Workers found dead since this was asked last, and how."""


@dataclass(frozen=True, slots=True)
class Happened:
    """What the loop tells whoever watches: one thing that happened."""

    what: str
    """`opening`, `opened`, `closed`, `started`, `committed`, `failed`, `lost`, `resized`."""
    role: str = ""
    task: Task | None = None
    receipt: Receipt | None = None
    cause: str = ""


Watch = Callable[[Happened], None]
Call = asyncio.Task[Receipt | None]


class Driver:
    """Runs one schedule on one cluster."""

    def __init__(
        self,
        schedule: Schedule,
        cluster: Cluster,
        watch: Watch,
        *,
        slots_now: SlotsNow | None = None,
        tolerance: Tolerance | None = None,
        run: str = "",
        pause: float = 5.0,
    ) -> None:
        """`slots_now` is asked every few seconds; without it the slots stay as they are.

        `run` is the run's name in the metrics; `pause` is that of `Attendance`.
        """
        self._schedule = schedule
        self._cluster = cluster
        self._finds_dead = cluster if isinstance(cluster, FindsDead) else None
        self._watch = watch
        self._slots_now = slots_now
        self._tolerance = tolerance or Tolerance()
        self._run = run
        self._counted: Counter[str] = Counter()
        """What the metrics were told already."""
        self._roles: dict[int, str] = {}
        self._under_way: dict[Call, Action | None] = {}
        self._ended: asyncio.Queue[Call | Mapping[str, int]] = asyncio.Queue()
        """Calls that came back, and news of the slots."""
        self._attendance: defaultdict[str, Attendance] = defaultdict(lambda: Attendance(pause))

    async def drive(self) -> None:
        """Run until every shard is committed.

        Raises UserError and StoreRefused as they come, RunStopped for anything that three tries
        did not get past.
        """
        asking = asyncio.create_task(self._ask_for_slots())
        measuring = asyncio.create_task(self._measure())
        try:
            while not self._schedule.finished:
                if self._finds_dead is not None:
                    for worker, death in self._finds_dead.found_dead().items():
                        self._lost(worker, None, death)  # before it is given anything more
                for action in self._schedule.decide():
                    self._apply(action)
                await self._next_events()
        except ShardExhausted as error:
            raise RunStopped(str(error)) from None
        finally:
            asking.cancel()
            measuring.cancel()
            await self._close_all()

    async def _next_events(self) -> None:
        """Wait for something to happen, or for the schedule's next hour; settle all there is."""
        try:
            async with asyncio.timeout(self._patience()):
                event = await self._ended.get()
        except TimeoutError:
            if not self._under_way and self._schedule.wake_in is None:
                raise RunStopped("the cluster has lost its engine slots") from None
            return
        self._settle(event)
        while not self._ended.empty():
            self._settle(self._ended.get_nowait())

    def _patience(self) -> float | None:
        seconds = self._schedule.wake_in
        if seconds is not None or self._under_way:
            return seconds
        if self._slots_now is None:
            raise RunStopped(
                "nothing can be started: a model needs more engine slots than there are"
            )
        return NO_SLOTS_S

    async def _ask_for_slots(self) -> None:
        if self._slots_now is None:
            return
        known: Mapping[str, int] = {}
        while True:
            with contextlib.suppress(InfrastructureError):  # asked again soon
                slots = await asyncio.to_thread(self._slots_now)
                if slots != known:
                    known = slots
                    self._ended.put_nowait(slots)
            await asyncio.sleep(POOLS_EVERY_S)

    async def _measure(self) -> None:
        """Tell the metrics how the queues are."""
        while True:
            await asyncio.sleep(METRICS_EVERY_S)
            for stage, (waiting, running) in self._schedule.queued().items():
                of = {"run": self._run, "stage": stage}
                show("stepmill_shards_waiting", of, waiting)
                show("stepmill_shards_running", of, running)
            for role, up in self._schedule.staff().items():
                show("stepmill_workers", {"run": self._run, "role": role}, up)
            for pool, slots in self._schedule.slots.items():
                show("stepmill_slots", {"run": self._run, "pool": pool}, slots)
            for name, total in (
                ("stepmill_model_switches", self._schedule.switches),
                ("stepmill_workers_replaced", self._schedule.replaced),
            ):
                count(name, {"run": self._run}, total - self._counted[name])
                self._counted[name] = total

    def _apply(self, action: Action) -> None:
        work: Coroutine[None, None, Receipt | None]
        match action:
            case Open(role, worker):
                self._roles[worker] = role
                self._attendance[role].coming.add(worker)
                self._watch(Happened("opening", role))
                work = self._cluster.open(worker, role)
            case Close(worker):
                self._attendance[self._roles.get(worker, "")].went(worker)
                work = self._cluster.close(worker)
            case Run(worker, task):
                self._watch(Happened("started", self._roles[worker], task))
                isolated = task.care == "isolated"
                start = self._cluster.isolate if isolated else self._cluster.run
                work = start(worker, task.stage, task.shard)
        self._begin(work, action)

    def _begin(self, work: Coroutine[None, None, Receipt | None], action: Action | None) -> None:
        call = asyncio.create_task(work)
        self._under_way[call] = action
        call.add_done_callback(self._ended.put_nowait)

    def _settle(self, event: Call | Mapping[str, int]) -> None:
        if not isinstance(event, asyncio.Task):
            self._schedule.resized(event)
            self._watch(Happened("resized", cause=str(dict(event))))
            return
        action = self._under_way.pop(event, None)
        error = event.exception()
        match action:
            case Open(role=role, worker=worker):
                if error is None:
                    self._attendance[role].came(worker)
                    self._schedule.opened(worker)
                    self._watch(Happened("opened", role))
                else:
                    self._open_failed(worker, role, error)
            case Close(worker):
                self._schedule.closed(worker)
                self._watch(Happened("closed", self._roles.pop(worker, "")))
            case Run(worker, task):
                if error is not None:
                    self._run_failed(worker, task, error)
                elif (receipt := event.result()) is not None:
                    self._run_ended(worker, task, receipt)

    def _run_ended(self, worker: int, task: Task, receipt: Receipt) -> None:
        if self._schedule.committed(worker, task):
            self._watch(Happened("committed", self._roles.get(worker, ""), task, receipt))
            self._tolerance.note(receipt)

    def _open_failed(self, worker: int, role: str, error: BaseException) -> None:
        refused = isinstance(error, EngineRefused)
        if isinstance(error, UserError) and not refused:
            raise error
        attendance, cause = self._attendance[role], str(error)
        if seconds := attendance.failed(worker, hopeless=refused):
            self._begin(self._hold(worker, cause, attendance.nobody, seconds), None)
            cause += f" (its slot is tried again in {seconds:.0f} s)"
        elif not self._schedule.broken(worker, cause):
            return  # it was told to go before it came up
        self._watch(Happened("lost", role, cause=cause))
        if seconds is None and refused:
            raise EngineRefused(f"models.{role}: {error}")
        if seconds is None:
            raise RunStopped(f"a worker for {role} could not be started: {error}")

    async def _hold(self, worker: int, cause: str, nobody: asyncio.Event, seconds: float) -> None:
        """Tell the schedule later: until then nothing else is put on the worker's slot."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(nobody.wait(), seconds)
        self._schedule.broken(worker, cause)

    def _run_failed(self, worker: int, task: Task, error: BaseException) -> None:
        """Decide the family: the user's and a refusing store stop the run, a dead worker or
        engine takes its other shards with it, anything else is this try's."""
        if isinstance(error, (UserError, StoreRefused, RunStopped)):
            raise error
        if isinstance(error, (WorkerLost, EngineFailed)):
            return self._lost(worker, task, error)
        cause = f"{type(error).__name__}: {error}"
        if self._schedule.failed(worker, task, cause, isinstance(error, SandboxLost)):
            self._watch(Happened("failed", self._roles.get(worker, ""), task, cause=cause))

    def _lost(self, worker: int, task: Task | None, error: BaseException) -> None:
        """A worker is of no use. It may be told more than once, by the cluster and by its calls."""
        cause = f"{type(error).__name__}: {error}"
        role = self._roles.get(worker, "")
        if self._schedule.broken(worker, cause):
            self._attendance[role].went(worker)
            self._watch(Happened("lost", role, task, cause=cause))
            count("stepmill_worker_losses", {"run": self._run, "role": role})

    async def _close_all(self) -> None:
        for call in self._under_way:
            call.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self._under_way.clear()
        await asyncio.gather(*(self._cluster.close(w) for w in list(self._roles)))
        self._roles.clear()
