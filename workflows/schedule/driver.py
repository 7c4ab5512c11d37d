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
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from actors.metrics import count
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
from storage.runs.commits import Receipt
from workflows.schedule.attendance import Attendance
from workflows.schedule.cluster import Cluster, FindsDead, HasNodes, SlotsNow, TellsHunger
from workflows.schedule.nodes import Slots
from workflows.schedule.queue_metrics import tell_metrics
from workflows.schedule.schedule import Action, Close, Open, Run, Schedule, ShardExhausted, Task
from workflows.schedule.tolerance import Tolerance

POOLS_EVERY_S = 5.0
PLACE_PATIENCE_S = 1800.0
"""How long nothing may be at work for want of a place."""


class Hungry(NamedTuple):
    """Nothing waits for the worker's engine."""

    worker: int


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
        place_patience_s: float = PLACE_PATIENCE_S,
    ) -> None:
        """`slots_now` is asked every few seconds; without it the slots stay as they are.

        `run` is the run's name in the metrics; `pause` is that of `Attendance`.
        """
        self._schedule = schedule
        self._cluster = cluster
        self._finds_dead = cluster if isinstance(cluster, FindsDead) else None
        self._has_nodes = cluster if isinstance(cluster, HasNodes) else None
        self._tells_hunger = cluster if isinstance(cluster, TellsHunger) else None
        self._listening: dict[int, asyncio.Task[None]] = {}
        """Workers that were given a shard since they last said that they could take more."""
        self._watch = watch
        self._slots_now = slots_now
        self._place_patience_s = place_patience_s
        self._stuck, self._stuck_s, self._looked_at = False, 0.0, 0.0
        """Whether nothing is at work for want of a place, for how long by now, as of when."""
        self._tolerance = tolerance or Tolerance()
        self._run = run
        self._roles: dict[int, str] = {}
        self._under_way: dict[Call, Action | None] = {}
        self._kinds: Counter[type] = Counter()
        """Of what is under way, so that an event looks at none of it."""
        self._ended: asyncio.Queue[Call | Hungry | Slots] = asyncio.Queue()
        """Calls that came back, and news of the workers and of the slots."""
        self._attendance: defaultdict[str, Attendance] = defaultdict(lambda: Attendance(pause))

    async def drive(self) -> None:
        """Run until every shard is committed.

        Raises UserError and StoreRefused as they come, RunStopped for anything that three tries
        did not get past.
        """
        beside = [asyncio.create_task(tell_metrics(self._schedule, self._run))]
        if self._slots_now is not None:
            asking = asyncio.create_task(self._ask_for_slots(self._slots_now))
            asking.add_done_callback(self._ended.put_nowait)  # it ends by an error alone
            beside.append(asking)
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
            for task in beside:
                task.cancel()
            await self._close_all()

    async def _next_events(self) -> None:
        """Wait for something to happen, or for the schedule's next hour; settle all there is."""
        patience = self._patience()
        if self._stuck_s >= self._place_patience_s:
            await self._give_up()
        try:
            async with asyncio.timeout(patience):
                event = await self._ended.get()
        except TimeoutError:
            return
        self._settle(event)
        while not self._ended.empty():
            self._settle(self._ended.get_nowait())

    def _patience(self) -> float | None:
        """Seconds until something has to be done although nothing happened; counts the time in
        which nothing was at work for want of a place. Raises RunStopped.
        """
        now, wake = asyncio.get_running_loop().time(), self._schedule.wake_in
        if self._stuck:
            self._stuck_s += now - self._looked_at
        if self._kinds[Run]:
            self._stuck_s = 0.0
        self._looked_at, self._stuck = now, wake is None and self._all_wait()
        if self._stuck and self._slots_now is None and not self._under_way:
            raise RunStopped(
                "nothing can be started: a model needs more engine slots than there are"
            )
        soonest = [wake] if wake is not None else []
        if self._stuck:
            soonest.append(max(0.0, self._place_patience_s - self._stuck_s))
        elif self._has_nodes is not None and self._kinds[Open]:
            soonest.append(POOLS_EVERY_S)  # it may have begun to wait
        return min(soonest, default=None)

    def _all_wait(self) -> bool:
        """Whether all that is under way, if anything, waits for a place or gives one up."""
        if self._kinds[Run]:
            return False
        waiting = self._has_nodes.waiting() if self._has_nodes is not None else ()

        def waits(action: Action | None) -> bool:
            match action:
                case Open(role, worker):
                    return worker in waiting or worker not in self._attendance[role].coming
                case _:
                    return isinstance(action, Close)

        return all(map(waits, self._under_way.values()))

    def _placed(self, worker: int, node: str) -> None:
        self._stuck, self._stuck_s = False, 0.0
        self._schedule.placed(worker, node)

    async def _give_up(self) -> None:
        """Nothing has had a place for too long. Raises RunStopped."""
        said = ""
        if self._has_nodes is not None:
            roles = [role for role in self._schedule.staff() if self._schedule.backlog(role)]
            said = ": " + await asyncio.to_thread(self._has_nodes.shortage, roles)
        raise RunStopped(f"no engine found a place in {spell(self._place_patience_s)}{said}")

    async def _ask_for_slots(self, slots_now: SlotsNow) -> None:
        known: Slots = {}
        while True:
            with contextlib.suppress(InfrastructureError):  # asked again soon
                slots = await asyncio.to_thread(slots_now)
                if slots != known:
                    known = slots
                    self._ended.put_nowait(slots)
            await asyncio.sleep(POOLS_EVERY_S)

    def _apply(self, action: Action) -> None:
        work: Coroutine[None, None, Receipt | None]
        match action:
            case Open(role, worker, node):
                self._roles[worker] = role
                self._attendance[role].coming.add(worker)
                self._watch(Happened("opening", role))
                if self._has_nodes is None:
                    work = self._cluster.open(worker, role)
                else:
                    placed = partial(self._placed, worker)
                    work = self._has_nodes.open_on(worker, role, node, placed)
            case Close(worker):
                self._attendance[self._roles.get(worker, "")].went(worker)
                self._listen_no_more(worker)
                work = self._cluster.close(worker)
            case Run(worker, task):
                self._watch(Happened("started", self._roles[worker], task))
                isolated = task.care == "isolated"
                start = self._cluster.isolate if isolated else self._cluster.run
                work = start(worker, task.stage, task.shard)
                self._listen(worker)
        self._begin(work, action)

    def _listen(self, worker: int) -> None:
        """Hear of it when nothing waits for the worker's engine any more."""
        if self._tells_hunger is not None and worker not in self._listening:
            listening = asyncio.create_task(self._tells_hunger.hungry(worker))
            self._listening[worker] = listening
            listening.add_done_callback(partial(self._heard, worker))

    def _heard(self, worker: int, listening: asyncio.Task[None]) -> None:
        if self._listening.get(worker) is listening:
            del self._listening[worker]
        # That a worker is lost is heard from what runs on it.
        if not listening.cancelled() and listening.exception() is None:
            self._ended.put_nowait(Hungry(worker))

    def _listen_no_more(self, worker: int) -> None:
        if (listening := self._listening.pop(worker, None)) is not None:
            listening.cancel()

    def _begin(self, work: Coroutine[None, None, Receipt | None], action: Action | None) -> None:
        call = asyncio.create_task(work)
        self._under_way[call] = action
        self._kinds[type(action)] += 1
        call.add_done_callback(self._ended.put_nowait)

    def _settle(self, event: Call | Hungry | Slots) -> None:
        if isinstance(event, Hungry):
            self._schedule.hungry(event.worker)
            return
        if not isinstance(event, asyncio.Task):
            before = dict(self._schedule.slots)
            self._schedule.resized(event)
            if before != self._schedule.slots:
                self._watch(Happened("resized", cause=str(dict(self._schedule.slots))))
            return
        if event not in self._under_way:  # nobody asks for slots any more
            event.result()
            return
        action = self._under_way.pop(event)
        self._kinds[type(action)] -= 1
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
        engine takes its other shards with it, anything else is this try's.
        """
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
        for worker in list(self._listening):
            self._listen_no_more(worker)
        for call in self._under_way:
            call.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self._under_way.clear()
        self._kinds.clear()
        await asyncio.gather(*(self._cluster.close(w) for w in list(self._roles)))
        self._roles.clear()


def spell(seconds: float) -> str:
    """`30 minutes`, `45 seconds`."""
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
