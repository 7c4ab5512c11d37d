"""A driver's work on a run, and what goes on beside it: meters, requests to stop, other drivers.

Invariant: work that is stopped, by a signal or a request in the store, has closed its workers
before its call ends. A run that is not stored yet has no note of its driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial

from actors.stopping import terminable, told_to_stop
from actors.workers.ray_workers import RayCluster
from storage.errors import InfrastructureError, Removed, StepmillError, StopAsked
from storage.runs.presence import LOOK_EVERY_S, Presence, Who
from storage.runs.run import Run
from storage.runs.stops import note_stop
from workflows.runs.listening import Watching
from workflows.runs.tally import Tally
from workflows.schedule.beginning import Begin
from workflows.schedule.events import Happened

METERS_EVERY_SECONDS = 1.0
BEGUN_EVERY_S = 0.2
LEAVING_S = 5.0
"""Most seconds to wait for the store to take a note away."""


@dataclass
class Attended:
    """The work of one driver on a run."""

    run: Run
    progress: Watching
    store_run: Begin | None = None
    """Stores the run; None: it is stored."""
    begun: bool = field(init=False)
    """Whether the run is stored."""
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        """A stored run has begun."""
        self.begun = self.store_run is None

    @property
    def begin(self) -> Begin | None:
        """What the driver calls when its first engines are open; None for a stored run."""
        return None if self.store_run is None else self._begin

    def _begin(self) -> None:
        assert self.store_run is not None
        self.store_run()
        self.begun = True

    def happened(self, event: Happened) -> None:
        """Count an event of the driver, and pass it on."""
        self.tally.happened(event)
        self.progress.happened(event)

    async def drive(self, work: Coroutine[None, None, None], cluster: RayCluster) -> None:
        """Do the work, then close the cluster's workers.

        Raises StopAsked where somebody asked for it, Removed where the run was removed, and
        CancelledError after a signal.
        """
        here = asyncio.current_task()
        assert here is not None
        loop = asyncio.get_running_loop()
        # Ray set a handler of its own, which would end the process before its workers are closed.
        with terminable(partial(loop.call_soon_threadsafe, here.cancel), self.progress.ending):
            metering = asyncio.create_task(self._meters(cluster))
            working = asyncio.create_task(work)
            looking = _Looking(self, partial(loop.call_soon_threadsafe, working.cancel), loop)
            try:
                await self._until(working, looking)
            except asyncio.CancelledError:
                told_to_stop()
                raise
            finally:
                metering.cancel()
                await cluster.shutdown()
                await looking.end()

    async def _until(self, working: asyncio.Task[None], looking: _Looking) -> None:
        try:
            await working
        except asyncio.CancelledError:
            if looking.found is None:
                raise
            if isinstance(looking.found, StopAsked):
                await asyncio.to_thread(note_stop, self.run, str(looking.found))
            raise looking.found from None

    async def _meters(self, cluster: RayCluster) -> None:
        while True:
            await asyncio.sleep(METERS_EVERY_SECONDS)
            self.progress.meters(await cluster.progress())


class _Looking:
    """Looks at the store's notes every few seconds, in a thread that a store can't hold up.

    When `found` is set, the work has to end for this reason.
    """

    def __init__(
        self, of: Attended, stop: Callable[[], object], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.found: StepmillError | None = None
        self._of, self._stop, self._loop = of, stop, loop
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="notes", daemon=True)
        self._thread.start()

    async def end(self) -> None:
        """Take the note away, unless the store takes too long."""
        self._ended.set()
        await asyncio.to_thread(self._thread.join, LEAVING_S)

    def _look(self) -> None:
        presence, pause = Presence(self._of.run, lambda: self._of.tally.work), 0.0
        while self.found is None and not self._ended.wait(pause):
            pause = LOOK_EVERY_S if self._of.begun else BEGUN_EVERY_S
            if self._of.begun:
                with contextlib.suppress(InfrastructureError):  # it is looked at again soon
                    self._look_once(presence)
        self._ended.wait()
        if self._of.begun:
            presence.leave()

    def _look_once(self, presence: Presence) -> None:
        run = self._of.run.name
        try:
            seen = presence.look()
        except Removed as error:
            self.found = error
        else:
            if self._ended.is_set():  # nobody listens any more
                return
            for who in seen.others:
                self._loop.call_soon_threadsafe(self._of.progress.note, beside(run, who))
            if seen.asked_by is not None:
                self.found = StopAsked(f"run {run} was stopped by {seen.asked_by}")
        if self.found is not None:
            self._of.progress.ending()
            self._stop()


def beside(run: str, who: Who) -> str:
    """What a driver says of another one."""
    return (
        f"another build of run {run} is at work: {who}. Both end with one result, and each pays "
        f"for what it makes; `stepmill stop {run}` stops both"
    )
