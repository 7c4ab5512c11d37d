"""How a worker of any run is made, wherever it runs.

Invariant: a worker is made of the store, the run's name and a maker of stages, all of which can
travel, so that a worker on any node makes the same stages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Protocol

from actors.sandbox.contract import Sandbox
from actors.sandbox.paced import PacedSandbox
from actors.workers.contract import Processor
from actors.workers.ray_workers import MakeWorker
from actors.workers.worker import ShardWorker
from storage.objects.opening import open_store
from storage.runs.run import Run
from workflows.road import reads_by_stage
from workflows.runs.configuration import RunConfig
from workflows.schedule.floor import floor_of


class StageMaker(Protocol):
    """Makes the stages of a run from its configuration."""

    @property
    def config(self) -> RunConfig:
        """What they are made from."""
        ...

    async def stages(self, role: str, sandbox: Sandbox | None) -> Mapping[str, Processor]:
        """Open engines and build the stages of one role.

        Raises UserError for a model that can't be used and InfrastructureError.
        """
        ...


def make_worker(
    store: str, run: str, maker: StageMaker, role: str, name: str, sandbox: Sandbox | None
) -> ShardWorker:
    """A worker of one role; called inside its actor."""
    if sandbox is not None and role in maker.config.engines:
        sandbox = PacedSandbox(sandbox, maker.config.engine(role).in_flight)
    reads = reads_by_stage(maker.config.road)
    opened = Run.open(open_store(store), run)
    stages = partial(maker.stages, role, sandbox)
    return ShardWorker(opened, reads, stages, name, floor_of(maker.config.floor))


def worker_makers(run: Run, maker: StageMaker, roles: Iterable[str]) -> dict[str, MakeWorker]:
    """How a worker of each role is made."""
    return {role: partial(make_worker, run.store.url, run.name, maker, role) for role in roles}
