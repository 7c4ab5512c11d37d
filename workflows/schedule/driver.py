"""The driver's loop: applies the schedule's actions to a cluster and reports back what happened.

It holds receipts, never rows. The cluster is a protocol, so the loop can be tested without Ray.
The cost of an event is independent of how much runs.

Invariant: every action is either applied or reported back to the schedule. When the loop ends, by
success, an error or cancellation, it has closed every worker that it opened.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Coroutine
from functools import partial

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
from workflows.schedule.beginning import WAIT_FOR_SLOTS_S, Begin, UnbegunSchedule
from workflows.schedule.cluster import Cluster, FindsDead, HasNodes, SlotsNow, TellsHunger
from workflows.schedule.events import Happened, Hungry, Watch, spell
from workflows.schedule.nodes import Slots
from workflows.schedule.queue_metrics import tell_commit, tell_metrics
from workflows.schedule.schedule import Action, Close, Open, Run, Schedule, ShardExhausted, Task
from workflows.schedule.tolerance import Tolerance

POOLS_EVERY_S = 5.0
PLACE_PATIENCE_S = 1800.0
"""How long the run waits while all workers wait for slots."""

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
        begin: Begin | None = None,
    ) -> None:
        """`slots_now` is called every few seconds; without it the slots stay as they are. `begin`,
        for an `UnbegunSchedule`, is called once, before the first shard, when its engines are open.

        `run` is the run's name in the metrics; `pause` is that of `Attendance`.
        """
        self._schedule = schedule
        self._cluster = cluster
        self._finds_dead = cluster if isinstance(cluster, FindsDead) else None
        self._has_nodes = cluster if isinstance(cluster, HasNodes) else None
        self._tells_hunger = cluster if isinstance(cluster, TellsHunger) else None
        self._listening: dict[int, asyncio.Task[None]] = {}
        """Worker -> the task that waits for its engine's queue to become empty."""
        self._watch = watch
        self._slots_now = slots_now
        self._place_patience_s = place_patience_s
        self._stuck, self._stuck_s, self._looked_at = False, 0.0, 0.0
        """Whether all workers wait for slots, for how many seconds, and when last checked."""
        self._tolerance = tolerance or Tolerance()
        self._to_begin, self._up_since = begin, 0.0
        self._run = run
        self._roles: dict[int, str] = {}
        self._under_way: dict[Call, Action | None] = {}
        self._kinds: Counter[type] = Counter()
        """Type of action -> number under way."""
        self._ended: asyncio.Queue[Call | Hungry | Slots] = asyncio.Queue()
        """Ended calls, hungry workers and changed slots, in the order of their arrival."""
        self._attendance: defaultdict[str, Attendance] = defaultdict(lambda: Attendance(pause))

    async def drive(self) -> None:
        """Run until every shard is committed.

        Raises UserError and StoreRefused at once, and RunStopped for a failure that outlasts all
        tries.
        """
        beside = [asyncio.create_task(tell_metrics(self._schedule, self._run))]
        if self._slots_now is not None:
            asking = asyncio.create_task(self._ask_for_slots(self._slots_now))
            asking.add_done_callback(self._ended.put_nowait)  # it ends only by an error
            beside.append(asking)
        try:
            while not self._schedule.finished:
                if self._finds_dead is not None:
                    for worker, death in self._finds_dead.found_dead().items():
                        self._lost(worker, None, death)  # before it gets another shard
                for action in self._schedule.decide():
                    self._apply(action)
                if not (self._to_begin is not None and await self._began(self._to_begin)):
                    await self._next_events()
        except ShardExhausted as error:
            raise RunStopped(str(error)) from None
        finally:
            for task in beside:
                task.cancel()
            await self._close_all()

    async def _began(self, begin: Begin) -> bool:
        """Begin the run if the first engines are open; return whether it did."""
        assert isinstance(self._schedule, UnbegunSchedule)
        holding, now = self._schedule.holding(), asyncio.get_running_loop().time()
        self._up_since = now if holding is None else self._up_since
        if holding and self._has_nodes is not None and now - self._up_since >= WAIT_FOR_SLOTS_S:
            holding = set(holding) - set(self._has_nodes.waiting())
        if holding is None or holding:
            return False
        await asyncio.to_thread(begin)
        self._schedule.begin()
        self._to_begin = None
        return True

    async def _next_events(self) -> None:
        """Wait for an event or for the schedule's next due time; settle all events there are."""
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
        """Seconds until the loop must act even without an event; None: no limit. Also counts the
        time in which all workers wait for slots. Raises RunStopped if none can ever start.
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
        if self._to_begin is not None:
            soonest.append(POOLS_EVERY_S)
        if self._stuck:
            soonest.append(max(0.0, self._place_patience_s - self._stuck_s))
        elif self._has_nodes is not None and self._kinds[Open]:
            soonest.append(POOLS_EVERY_S)  # a worker may begin to wait for slots
        return min(soonest, default=None)

    def _all_wait(self) -> bool:
        """Whether all actions under way wait for slots or give some up."""
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
        """Stop the run: all workers have waited for slots too long. Raises RunStopped."""
        shortage = ""
        if self._has_nodes is not None:
            roles = [role for role in self._schedule.staff() if self._schedule.backlog(role)]
            shortage = ": " + await asyncio.to_thread(self._has_nodes.shortage, roles)
        raise RunStopped(f"no engine found a place in {spell(self._place_patience_s)}{shortage}")

    async def _ask_for_slots(self, slots_now: SlotsNow) -> None:
        known: Slots = {}
        while True:
            with contextlib.suppress(InfrastructureError):  # called again soon
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
        """Queue a `Hungry` event once the queue of the worker's engine is empty."""
        if self._tells_hunger is not None and worker not in self._listening:
            listening = asyncio.create_task(self._tells_hunger.hungry(worker))
            self._listening[worker] = listening
            listening.add_done_callback(partial(self._heard, worker))

    def _heard(self, worker: int, listening: asyncio.Task[None]) -> None:
        if self._listening.get(worker) is listening:
            del self._listening[worker]
        # An error here is ignored: a lost worker is noticed by the calls that run on it.
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
        if event not in self._under_way:  # the task that asks for slots has failed
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
            tell_commit(self._run, receipt)
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
            return  # closed before it came up
        self._watch(Happened("lost", role, cause=cause))
        count("stepmill_worker_losses", {"run": self._run, "role": role})
        if seconds is None and refused:
            raise EngineRefused(f"models.{role}: {error}")
        if seconds is None:
            raise RunStopped(f"a worker for {role} could not be started: {error}")

    async def _hold(self, worker: int, cause: str, nobody: asyncio.Event, seconds: float) -> None:
        """Report the failed start only after a rest, so that the slot stays unused until then."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(nobody.wait(), seconds)
        self._schedule.broken(worker, cause)

    def _run_failed(self, worker: int, task: Task, error: BaseException) -> None:
        """Handle an error by its type: a user's error or a refusing store stops the run. A dead
        worker or engine loses all its shards. Any other error fails only this try.
        """
        if isinstance(error, (UserError, StoreRefused, RunStopped)):
            raise error
        if isinstance(error, (WorkerLost, EngineFailed)):
            return self._lost(worker, task, error)
        cause = f"{type(error).__name__}: {error}"
        if self._schedule.failed(worker, task, cause, isinstance(error, SandboxLost)):
            self._watch(Happened("failed", self._roles.get(worker, ""), task, cause=cause))

    def _lost(self, worker: int, task: Task | None, error: BaseException) -> None:
        """Report a lost worker, once: the cluster and each of its calls may tell of it."""
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
