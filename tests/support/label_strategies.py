"""A strategy that only estimates, from its shipped configuration, on the scripted world."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actors.engines.contract import EngineSettings
from actors.workers.contract import Processor
from launch.config import load
from storage.objects.opening import open_store
from storage.rows.kinds import Record, Rows
from tests.support.local_cluster import LocalCluster
from tests.support.scripted_build import rows
from tests.support.scripted_world import (
    InProcessSandbox,
    ScriptedWorld,
    world_problems,
    write_problems,
)
from workflows.builds.configuration import BuildConfig
from workflows.runs.driving import continue_run
from workflows.runs.run import finish
from workflows.runs.starting import start_run
from workflows.runs.workers import StageMaker

CONFIGS = Path(__file__).parents[2] / "configs" / "strategies"
NAMES = (
    "genprm", "math_shepherd_hard", "math_shepherd_soft", "scan", "omegaprm_binary", "omegaprm",
    "pav",
)  # fmt: skip
PROBLEMS = world_problems(6)
SCRIPTED = EngineSettings(kind="scripted", model="scripted")


def configured(
    name: str, folder: Path, search: Mapping[str, Any] | None = None, **label: Any
) -> BuildConfig:
    """A shipped strategy with scripted models, on a few problems; with other settings."""
    folder.mkdir(parents=True, exist_ok=True)
    config = load(CONFIGS / f"{name}.yaml")
    models = dataclasses.replace(config.models, **dict.fromkeys(config.engines, SCRIPTED))
    stages = config.stages
    if name == "scan":  # the scripted policy is weaker than the world's completer
        stages = dataclasses.replace(
            stages, sample=dataclasses.replace(stages.sample, least_pass_at_1=0.3)
        )
    if search:
        stages = dataclasses.replace(stages, search=dataclasses.replace(stages.search, **search))
    if label:
        stages = dataclasses.replace(stages, label=dataclasses.replace(stages.label, **label))
    return dataclasses.replace(
        config, problems=str(write_problems(PROBLEMS, folder / "problems.jsonl")), shard_size=3,
        store=f"file://{folder}/store", models=models, stages=stages,
    )  # fmt: skip


class Build:
    """One strategy, built to its end."""

    def __init__(self, config: BuildConfig) -> None:
        self.config = config
        self.world = ScriptedWorld(PROBLEMS)
        self.run = start_run(config, open_store(config.store), None)
        self.cluster = LocalCluster(self.run, self._stages)
        asyncio.run(continue_run(self.run, config, self.cluster, 2, lambda event: None))
        finish(self.run)

    def _stages(self, role: str) -> Mapping[str, Processor]:
        maker = StageMaker(self.config, self.run.name)
        if role == "cpu":
            return maker.pure()
        script = "completer" if role == "prover" else role
        return maker.around(role, self.world.engine(script), InProcessSandbox())

    def rows(self, kind: Rows[Record]) -> list[Record]:
        return rows(self.run, kind)
