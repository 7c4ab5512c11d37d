"""A strategy of the judge's side, from its shipped configuration, on the scripted world."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from actors.engines.contract import Engine
from actors.workers.contract import Processor
from demo import world
from demo.problem import Problem as WorldProblem
from launch.config import load
from storage.objects.opening import open_store
from storage.rows.kinds import (
    AGREEMENTS,
    GROUNDED,
    JUDGEMENTS,
    PATHS,
    Record,
    Rows,
    ShardRows,
)
from storage.rows.records import Agreement, Judgement
from storage.rows.records import Path as SampledPath
from tests.support.local_cluster import LocalCluster
from tests.support.scripted_build import rows
from tests.support.scripted_world import (
    InProcessSandbox,
    ScriptedWorld,
    world_problems,
    write_problems,
)
from workflows.builds.configuration import BuildConfig
from workflows.road import opened_by
from workflows.runs.driving import continue_run
from workflows.runs.run import finish
from workflows.runs.starting import start_run
from workflows.runs.workers import StageMaker

CONFIGS = Path(__file__).parents[2] / "configs/strategies"
SPARK = ("spark_single", "spark_outcome_vote", "spark_step_vote", "spark_meta_critique")
OURS = (
    "qwen_consensus", "thinkprm", *SPARK, "aurora", "spare", "groundedprm", "fover", "int",
    "injected", "meta_verified",
)  # fmt: skip
LOGIC = list(world.sample(8, 0, "train", families=("logic",)))
MIXED = world_problems(8)


Rewrite = Callable[[dict[str, Any]], dict[str, Any]]
"""A problem as it is read from the file -> as it shall be read."""


class Built:
    """A configuration's run over the engines that a function opens for roles."""

    def __init__(self, config: BuildConfig, engine: Callable[[str], Engine]) -> None:
        self.config, self._engine = config, engine
        self.run = start_run(config, open_store(config.store), None)
        cluster = LocalCluster(self.run, self._stages)
        asyncio.run(continue_run(self.run, config, cluster, 2, lambda event: None))
        finish(self.run)

    def _stages(self, role: str) -> Mapping[str, Processor]:
        maker = StageMaker(self.config, self.run.name)
        if role == "cpu":
            return maker.pure(InProcessSandbox())
        others = opened_by(self.config.road, role)[1:]
        beside = {other: self._engine(other) for other in others}
        return maker.around(role, self._engine(role), InProcessSandbox(), beside)

    def rows(self, kind: Rows[Record]) -> list[Record]:
        """All rows of a stage."""
        return rows(self.run, kind)

    @property
    def paths(self) -> dict[str, SampledPath]:
        """Selected paths by id; of a tree, its solutions."""
        rows_of = ShardRows({PATHS: self.rows(PATHS)})
        if GROUNDED.stage in self.run.spec.stages and GROUNDED.unfold:
            rows_of = GROUNDED.unfold(rows_of.but({GROUNDED: self.rows(GROUNDED)}))
        return {p.path_id: p for p in rows_of[PATHS] if p.selected}


class Build(Built):
    """A shipped strategy's run over the models of a scripted world."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        rewrite: Rewrite = lambda row: row,
        stages: Mapping[str, Any] | None = None,
        world: type[ScriptedWorld] = ScriptedWorld,
    ) -> None:
        """`stages`: settings in the place of the file's."""
        self.problems: list[WorldProblem] = LOGIC if name == "fover" else MIXED
        self.world = world(self.problems)
        config = configured(name, folder, self.problems, rewrite, stages or {})
        super().__init__(config, self.world.engine)

    @property
    def kept(self) -> list[Agreement]:
        """What consensus kept."""
        return [row for row in self.rows(AGREEMENTS) if row.kept]

    @property
    def judgements(self) -> dict[str, list[Judgement]]:
        """path_id -> its judgements in order."""
        found: dict[str, list[Judgement]] = defaultdict(list)
        for row in self.rows(JUDGEMENTS):
            found[row.path_id].append(row)
        return found


def configured(
    name: str,
    folder: Path,
    problems: list[WorldProblem],
    rewrite: Rewrite,
    stages: Mapping[str, Any],
) -> BuildConfig:
    file = write_problems(problems, folder / "problems.jsonl")
    problems_read = [rewrite(json.loads(line)) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row) + "\n" for row in problems_read))
    written = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    written |= {"problems": "problems.jsonl", "shard_size": 4}
    written["models"] = {role: {"kind": "scripted", "model": role} for role in written["models"]}
    if "solutions" in written:
        written["solutions"] = written["problems"]
    else:
        written["stages"]["sample"] |= {"cap": min(64, written["stages"]["sample"]["cap"])}
    for stage, settings in stages.items():
        known = written["stages"].get(stage, {})
        written["stages"][stage] = settings if stage == "road" else {**known, **settings}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(written))
    return load(folder / f"{name}.yaml", store=f"file:{folder}/store")
