"""Derives a run as `build --from` does, in this process, with no engine to open."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from actors.workers.contract import Processor
from actors.workers.worker import ShardWorker
from storage.runs.run import Run
from workflows.builds.configuration import BuildConfig
from workflows.builds.derive import Inherited, start_derived
from workflows.builds.derive import take_over as take
from workflows.road import reads_by_stage
from workflows.runs.starting import planned
from workflows.runs.workers import StageMaker
from workflows.stages import road_of


def derive(config: BuildConfig, source: Run) -> Run:
    """Create the derived run, with the source's shards of problems."""
    plan = planned(config, None, before=source.spec.plan)
    return start_derived(config, source.store, plan, source)


def take_over(run: Run, config: BuildConfig) -> Inherited | None:
    """Copy what may be copied, and make what needs no model."""

    def worker(name: str, sandbox: object) -> ShardWorker:
        async def pure() -> Mapping[str, Processor]:
            return StageMaker(config, run.name).pure()

        return ShardWorker(run, reads_by_stage(road_of(run.spec.stages[1:])), pure, name)

    return asyncio.run(take(run, worker))


def digests(run: Run, stage: str) -> dict[int, str]:
    """Shard -> digest of its rows."""
    return {commit.shard: commit.sha256 for commit in run.commits(stage)}
