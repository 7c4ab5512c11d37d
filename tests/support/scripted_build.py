"""A small build with scripted models, in one process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.workers.contract import Processor
from launch.config import load
from storage.objects.opening import open_store
from storage.rows.kinds import Record, Rows
from storage.runs.run import Run
from tests.support.local_cluster import LocalCluster
from tests.support.scripted_world import (
    InProcessSandbox,
    ScriptedWorld,
    scripted_build,
    world_problems,
    write_problems,
)
from workflows.builds.configuration import BuildConfig
from workflows.runs.driving import continue_run
from workflows.runs.starting import start_run
from workflows.runs.workers import StageMaker

GIVEN = world_problems(14)
CONFIG = scripted_build("r", {"k_hard": 16, "k_medium": 12, "k_easy": 8, "probe": 8})


def configure(folder: Path, **change: Any) -> BuildConfig:
    folder.mkdir(exist_ok=True)
    write_problems(GIVEN, folder / "problems.jsonl")
    (folder / "build.yaml").write_text(json.dumps(CONFIG | change))
    return load(folder / "build.yaml", store=f"file:{folder}/store")


class Build:
    """One configured build with its scripted world."""

    def __init__(self, config: BuildConfig, run: Run | None = None) -> None:
        """`run`: a run that was started already."""
        self.config = config
        self.world = ScriptedWorld(GIVEN)
        self.run = run or start_run(config, open_store(config.store), None)
        self.cluster = LocalCluster(self.run, self._stages)

    def _stages(self, role: str) -> Mapping[str, Processor]:
        maker = StageMaker(self.config, self.run.name)
        if role == "cpu":
            return maker.pure()
        return maker.around(role, self.world.engine(role), InProcessSandbox())

    async def work(self) -> None:
        await continue_run(self.run, self.config, self.cluster, 2, lambda event: None)


def rows(run: Run, kind: Rows[Record]) -> list[Record]:
    return [r for shard in range(run.spec.plan.shards) for r in run.read_rows(kind, shard)]
