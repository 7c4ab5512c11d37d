"""A driver's work on a run, and what goes on beside it: meters, requests to stop, other drivers.

Invariant: work that is stopped, by a signal or a request in the store, has closed its workers
before its call ends. A run that is not stored yet has no note of its driver.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import partial

from actors.stopping import terminable, told_to_stop
from actors.workers.ray_workers import RayCluster
from storage.errors import InfrastructureError, Removed, StepmillError, StopAsked
from storage.runs.presence import LOOK_EVERY_S, Presence, Seen, Who
from storage.runs.run import Run
from storage.runs.stops import note_stop
from workflows.runs.listening import Watching
from workflows.schedule.beginning import Begin

METERS_EVERY_SECONDS = 1.0


@dataclass
class Attended:
    """The work of one driver on a run."""

    run: Run
    progress: Watching
    store_run: Begin | None = None
    """Stores the run; None: it is stored."""
    _begun: bool = field(init=False)

    def __post_init__(self) -> None:
        """A stored run has begun."""
        self._begun = self.store_run is None

    @property
    def begin(self) -> Begin | None:
        """What the driver calls when its first engines are open; None for a stored run."""
        return None if self.store_run is None else self._begin

    def _begin(self) -> None:
        assert self.store_run is not None
        self.store_run()
        self._begun = True

    async def drive(self, work: Coroutine[None, None, None], cluster: RayCluster) -> None:
        """Do the work, then close the cluster's workers.

        Raises StopAsked where somebody asked for it, Removed where the run was removed, and
        CancelledError after a signal.
        """
        here = asyncio.current_task()
        assert here is not None
        loop = asyncio.get_running_loop()
        presence = Presence(self.run)
        # Ray set a handler of its own, which would end the process before its workers are closed.
        with terminable(partial(loop.call_soon_threadsafe, here.cancel), self.progress.ending):
            metering = asyncio.create_task(self._meters(cluster))
            try:
                await self._attended(work, presence)
            except asyncio.CancelledError:
                told_to_stop()
                raise
            finally:
                metering.cancel()
                await cluster.shutdown()
                if self._begun:
                    await asyncio.to_thread(presence.leave)

    async def _attended(self, work: Coroutine[None, None, None], presence: Presence) -> None:
        working = asyncio.create_task(work)
        ended: list[StepmillError] = []

        async def attend() -> None:
            while not ended:
                if self._begun:
                    ended.extend(await self._look(presence))
                await asyncio.sleep(0 if ended else LOOK_EVERY_S)
            self.progress.ending()
            working.cancel()

        attending = asyncio.create_task(attend())
        try:
            await working
        except asyncio.CancelledError:
            if not ended:
                raise
            if isinstance(ended[0], StopAsked):
                await asyncio.to_thread(note_stop, self.run, str(ended[0]))
            raise ended[0] from None
        finally:
            attending.cancel()

    async def _look(self, presence: Presence) -> list[StepmillError]:
        """Look at the store's notes once; return why the work has to end, if it has to."""
        seen = Seen(None, ())
        with contextlib.suppress(InfrastructureError):  # it is looked at again soon
            try:
                seen = await asyncio.to_thread(presence.look)
            except Removed as error:
                return [error]
        for who in seen.others:
            self.progress.note(beside(self.run.name, who))
        if seen.asked_by is None:
            return []
        return [StopAsked(f"run {self.run.name} was stopped by {seen.asked_by}")]

    async def _meters(self, cluster: RayCluster) -> None:
        while True:
            await asyncio.sleep(METERS_EVERY_SECONDS)
            self.progress.meters(await cluster.progress())


def beside(run: str, who: Who) -> str:
    """What a driver says of another one."""
    return (
        f"another build of run {run} is at work: {who}. Both end with one result, and each pays "
        f"for what it makes; `stepmill stop {run}` stops both"
    )
