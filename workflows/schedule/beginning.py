"""A schedule that opens engines first: no shard is given out until the run has begun.

So a model that can't be opened is refused before anything of the run is stored.

Invariant: until `begin` is called, no shard is counted as running.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from workflows.schedule.schedule import Action, Schedule

Begin = Callable[[], None]
"""Stores what makes a run a run."""
WAIT_FOR_SLOTS_S = 60.0
"""Seconds for which the beginning waits for engines that have no slots yet."""


class UnbegunSchedule(Schedule):
    """The schedule of a run that is not stored yet."""

    begun = False

    def holding(self) -> Collection[int] | None:
        """The workers that the beginning waits for; None while no worker is up.

        It waits for the first worker of each role that one is being opened for. Where slots are
        few, later roles open after it. So does a role whose worker was lost at its start: it is
        opened again when its work arrives.
        """
        workers = self._staff.workers.values()
        up = {worker.role for worker in workers if worker.ready}
        return {worker.number for worker in workers if worker.role not in up} if up else None

    def begin(self) -> None:
        """Give out shards from now on."""
        self.begun = True

    def _assign(self, now: float) -> Iterator[Action]:
        return super()._assign(now) if self.begun else iter(())
