"""The judge's strategies with the demo's real models and the real sandbox, on a few problems.

Engines are opened once and lent to all strategies; what each kept is compared with the truth.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.engine import Chat, Engine, EngineSettings, Reply, Sampling
from actors.engines import open_engine
from actors.sandbox import open_sandbox
from actors.sandbox.contract import Sandbox, SandboxSettings
from actors.stage import Stage
from demo import check, world
from demo.truth import Scores
from launch.config import load
from storage.audit import audit
from storage.records import Agreement, Intervention
from storage.records import Path as SampledPath
from storage.stores import open_store
from tests.e2e.test_judge_strategies import CONFIGS, OURS
from tests.local_cluster import LocalCluster
from tests.scripted_world import write_problems
from tests.unit.workflows.test_formal import decided
from workflows.build import continue_run, finish, start_run
from workflows.stages import StageMaker

ROOT = Path(__file__).parents[2]
ROLES = ("policy", "completer", "rationale", "judge")
SEED = 9
MIXED = list(world.sample(16, SEED, "heldout", levels=(1, 2, 3)))
LOGIC = list(world.sample(8, SEED, "heldout", families=("logic",)))
LEAST_F1 = {
    "qwen_consensus": 0.7, "thinkprm": 0.7, "spare": 0.7, "groundedprm": 0.7, "fover": 0.7,
}  # fmt: skip
"""What the labels of what is kept must reach (class: wrong step). The demo's judge sees few slips
without a reference solution, so that of its votes alone only a precision above chance is asked."""

pytestmark = [
    pytest.mark.slow, pytest.mark.engine, pytest.mark.container, pytest.mark.timeout(2400),
]  # fmt: skip


class Lent:
    """An engine or a sandbox that outlives the stages that close it."""

    def __init__(self, of: Any) -> None:
        self._of = of

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """As the engine does."""
        reply: Reply = await self._of.generate(chat, sampling)
        return reply

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    async def close(self) -> None:
        """Nothing: it is lent."""


class House:
    """The engines and the sandbox, in one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.engines: dict[str, Engine] = {}
        self.sandbox: Sandbox = open_sandbox(SandboxSettings(slots=6))
        for role in ROLES:
            settings = EngineSettings(
                model=str(ROOT / "demo/models" / role), max_in_flight=128, cpu_threads=1
            )
            self.engines[role] = self.loop.run_until_complete(open_engine(settings))

    def close(self) -> None:
        for engine in self.engines.values():
            self.loop.run_until_complete(engine.close())
        self.loop.run_until_complete(self.sandbox.close())
        self.loop.close()


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    opened = House()
    yield opened
    opened.close()


@pytest.mark.parametrize("name", OURS)
def test_real_models_keep_solutions_with_true_labels(
    house: House, name: str, tmp_path: Path, record_property: Any
) -> None:
    problems = LOGIC if name == "fover" else MIXED
    write_problems(problems, tmp_path / "problems.jsonl")
    written = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    written |= {"problems": "problems.jsonl", "shard_size": 8}
    written["sandbox"] = {"slots": 6}
    written["stages"]["sample"] |= {"cap": min(64, written["stages"]["sample"]["cap"])}
    for role, model in written["models"].items():
        model["model"] = str(ROOT / "demo/models" / role)
    (tmp_path / "build.yaml").write_text(json.dumps(written))
    config = load(tmp_path / "build.yaml", {"store": f"file:{tmp_path}/store"})
    run = start_run(config, open_store(config.store), None)

    def stages(role: str) -> Mapping[str, Stage]:
        maker = StageMaker(config, run.name)
        sandbox: Any = Lent(house.sandbox)
        if role == "cpu":
            return maker.pure(sandbox)
        engine: Any = Lent(house.engines[role])
        return maker.around(role, engine, sandbox)

    cluster = LocalCluster(run, stages)
    house.loop.run_until_complete(continue_run(run, config, cluster, 4, lambda event: None))
    finish(run)
    assert audit(run).findings == ()
    scores, reasons, paths = Scores(), {}, 0
    tried, helped = 0, 0
    for shard in range(run.spec.plan.shards):
        sampled = {row.path_id: row for row in run.read_rows("sample", shard, SampledPath)}
        paths += sum(row.selected for row in sampled.values())
        for row in run.read_rows("consensus", shard, Agreement):
            if row.kept:
                problem = world.problem(row.problem_id)
                truth = check.first_error(problem, sampled[row.path_id].steps)
                scores.add(row.labels, truth)
                if name == "fover":  # stricter than the checker, which doesn't read gates' names
                    assert row.labels == decided(
                        problem.text, tuple(sampled[row.path_id].steps)
                    )
            else:
                reasons[row.reason] = reasons.get(row.reason, 0) + 1
        if name == "int":
            made = run.read_rows("retry", shard, Intervention)
            tried, helped = tried + len(made), helped + sum(row.kept for row in made)
    tokens = sum(run.totals(stage).counts.get("tokens", 0) for stage in run.spec.stages)
    figures = (
        f"{name}: {scores.paths} of {paths} paths kept, label F1 {scores.f1:.3f} (precision "
        f"{scores.precision:.3f}, recall {scores.recall:.3f}), first error true "
        f"{scores.first / max(1, scores.paths):.3f}, tokens {tokens}, {reasons}"
        + (f", replacements {helped} of {tried}" if name == "int" else "")
    )
    print(f"\nseed {SEED}: {figures}", flush=True)
    record_property("figures", figures)
    assert scores.paths > 0.1 * paths
    if name == "int":  # every kept path has a wrong step
        assert scores.first > 0.7 * scores.paths and helped > 0
    elif name in LEAST_F1:
        assert scores.f1 >= LEAST_F1[name], figures
    else:
        wrong = scores.steps[True, True] + scores.steps[False, True]
        assert scores.precision > wrong / scores.steps.total(), figures
