"""The driver's cluster in one process: real workers, real store, no Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from actors.workers.contract import Processor
from actors.workers.worker import ShardWorker
from actors.workers.yields import Floor
from storage.errors import WorkerLost
from storage.runs.commits import Receipt
from storage.runs.run import Run
from workflows.road import StageSpec, reads_by_stage
from workflows.stages import road_of

MakeStages = Callable[[str], Mapping[str, Processor]]


class LocalCluster:
    """Workers as plain objects."""

    def __init__(
        self,
        run: Run,
        make_stages: MakeStages,
        floor: Floor | None = None,
        road: Sequence[StageSpec] | None = None,
    ) -> None:
        """`road`: of a run that is no build."""
        self._run = run
        self._reads = reads_by_stage(road or road_of(run.spec.stages[1:]))
        self._floor = floor
        self._make_stages = make_stages
        self._workers: dict[int, ShardWorker] = {}
        self.worked: list[tuple[str, int]] = []
        """Every shard that was started, for tests of what is repeated."""

    async def open(self, worker: int, role: str) -> None:
        """Make a worker."""

        async def stages() -> Mapping[str, Processor]:
            return self._make_stages(role)

        made = ShardWorker(self._run, self._reads, stages, f"{role}-{worker}", self._floor)
        await made.open()
        self._workers[worker] = made

    async def run(self, worker: int, stage: str, shard: int) -> Receipt:
        """Make and commit a shard."""
        if worker not in self._workers:
            raise WorkerLost("closed")
        self.worked.append((stage, shard))
        return await self._workers[worker].work(stage, shard)

    async def hungry(self, worker: int) -> None:
        """Return once nothing waits for the worker's engine."""
        if worker not in self._workers:
            raise WorkerLost("closed")
        await self._workers[worker].hungry()

    async def close(self, worker: int) -> None:
        """Release a worker."""
        made = self._workers.pop(worker, None)
        if made is not None:
            await made.close()
