"""Shipped strategies on the demo's real models, whose engines are opened once and lent to all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from actors.engines.contract import Engine, EngineSettings
from actors.engines.opening import open_engine
from actors.engines.scripted import ScriptedEngine
from actors.sandbox import open_sandbox
from actors.sandbox.contract import Sandbox, SandboxSettings
from actors.workers.contract import Processor
from demo.problem import Problem
from demo.tool_user import tool_user
from launch.config import load
from storage.objects.opening import open_store
from storage.runs.run import Run
from tests.support.lent import Lent
from tests.support.local_cluster import LocalCluster
from tests.support.scripted_world import write_problems
from workflows.builds.configuration import BuildConfig
from workflows.road import opened_by
from workflows.runs.driving import continue_run
from workflows.runs.run import finish
from workflows.runs.starting import start_run
from workflows.runs.workers import StageMaker

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs/strategies"
MODELS = ROOT / "demo/models"
CAP = 64
"""Most samples of a problem, where a file says more."""


def shortened(
    name: str,
    problems: Sequence[Problem],
    folder: Path,
    stages: Mapping[str, Any] | None = None,
) -> BuildConfig:
    """A strategy's file on a few problems, with some other settings of its stages."""
    folder.mkdir(parents=True, exist_ok=True)
    write_problems(problems, folder / "problems.jsonl")
    written = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    written |= {"problems": "problems.jsonl", "shard_size": 8, "sandbox": {"slots": 6}}
    if "solutions" in written:
        written["solutions"] = written["problems"]
    else:
        written["stages"]["sample"] |= {"cap": min(CAP, written["stages"]["sample"]["cap"])}
    for stage, settings in (stages or {}).items():
        written["stages"][stage] = settings
    for model in written["models"].values():
        if model["kind"] == "vllm":
            model["model"] = str(MODELS / Path(model["model"]).name)
    (folder / "build.yaml").write_text(json.dumps(written))
    return load(folder / "build.yaml", store=f"file:{folder}/store")


class House:
    """Engines and a sandbox in one loop, each opened when a road first asks for it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._sandbox: Sandbox | None = None
        self._engines: dict[str, Engine] = {}

    def build(self, config: BuildConfig) -> Run:
        """The finished run of a configuration."""
        for settings in config.engines.values():
            if settings.kind == "vllm" and settings.model not in self._engines:
                opening = EngineSettings(model=settings.model, max_in_flight=128, cpu_threads=1)
                self._engines[settings.model] = self.loop.run_until_complete(open_engine(opening))
        if self._sandbox is None and any(stage.runs_code for stage in config.road):
            self._sandbox = open_sandbox(SandboxSettings(slots=6))
        run = start_run(config, open_store(config.store), None)
        cluster = LocalCluster(run, lambda role: self._stages(config, run, role))
        self.loop.run_until_complete(continue_run(run, config, cluster, 4, lambda event: None))
        finish(run)
        return run

    def _stages(self, config: BuildConfig, run: Run, role: str) -> Mapping[str, Processor]:
        maker = StageMaker(config, run.name)
        sandbox: Any = None if self._sandbox is None else Lent(self._sandbox)
        if role == "cpu":
            return maker.pure(sandbox)
        opened: dict[Any, Any] = {
            each: self._engine(config.engine(each)) for each in opened_by(config.road, role)
        }
        return maker.around(role, opened.pop(role), sandbox, opened)

    def _engine(self, settings: EngineSettings) -> Any:
        if settings.kind == "vllm":
            return Lent(self._engines[settings.model])
        return ScriptedEngine(tool_user)

    def close(self) -> None:
        """Close all engines and the sandbox."""
        for engine in self._engines.values():
            self.loop.run_until_complete(engine.close())
        if self._sandbox is not None:
            self.loop.run_until_complete(self._sandbox.close())
        self.loop.close()
