"""The estimating strategies with the demo's real models, on a few problems.

Two engines are opened once and lent to all; first errors are compared with the world's truth.
genprm itself is built with everything real in `test_real_build`.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from actors.engines.contract import Engine, EngineSettings
from actors.engines.opening import open_engine
from actors.workers.contract import Processor
from demo import world
from demo.truth import measure
from launch.config import load
from storage.audit import audit
from storage.objects.opening import open_store
from storage.rows.kinds import EXAMPLES
from tests.support.label_strategies import CONFIGS, NAMES
from tests.support.lent import Lent
from tests.support.local_cluster import LocalCluster
from tests.support.scripted_build import rows
from tests.support.scripted_world import write_problems
from workflows.runs.driving import continue_run
from workflows.runs.run import finish
from workflows.runs.starting import start_run
from workflows.runs.workers import StageMaker

ROOT = Path(__file__).parents[2]
SEED = 9
PROBLEMS = list(world.sample(10, SEED, "heldout", levels=(1, 2, 3)))
SEARCHED = ("omegaprm",)
"""Strategies whose labels are thresholds of soft targets, of edges and not of sampled steps."""

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(1800)]


class Engines:
    """Policy and completer, in one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.of: dict[str, Engine] = {}
        for model in ("policy", "completer"):
            settings = EngineSettings(
                model=str(ROOT / "demo/models" / model), max_in_flight=256, cpu_threads=1
            )
            self.of[model] = self.loop.run_until_complete(open_engine(settings))

    def close(self) -> None:
        for engine in self.of.values():
            self.loop.run_until_complete(engine.close())
        self.loop.close()


@pytest.fixture(scope="module")
def engines() -> Iterator[Engines]:
    opened = Engines()
    yield opened
    opened.close()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "genprm"])
def test_real_models_find_most_first_errors(engines: Engines, name: str, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    config = load(CONFIGS / f"{name}.yaml", store=f"file:{tmp_path}/store")
    problems = str(write_problems(PROBLEMS, tmp_path / "problems.jsonl"))
    config = dataclasses.replace(config, problems=problems, shard_size=5)
    run = start_run(config, open_store(config.store), None)

    def stages(role: str) -> Mapping[str, Processor]:
        maker = StageMaker(config, run.name)
        if role == "cpu":
            return maker.pure()
        engine: Any = Lent(engines.of[Path(config.engine(role).model).name])
        return maker.around(role, engine, None)

    cluster = LocalCluster(run, stages)
    engines.loop.run_until_complete(continue_run(run, config, cluster, 2, lambda event: None))
    finish(run)
    assert audit(run).findings == ()
    assert rows(run, EXAMPLES)
    scores = measure(run).before
    print(f"{name}: {scores.paths} paths, first error true {scores.first_accuracy:.3f}, "
          f"F1 {scores.f1:.3f}")  # fmt: skip
    assert scores.paths > 10
    assert name in SEARCHED or scores.first_accuracy > 0.5
