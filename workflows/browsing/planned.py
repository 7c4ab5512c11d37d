"""The plan of a run beside what the commits in its index came to."""

from __future__ import annotations

import polars as pl

from storage.runs.plans import latest_plan
from storage.runs.run import Run
from workflows.planning.against import Compared
from workflows.runs.status import StageStatus, against_plan


def planned(run: Run, figures: pl.DataFrame, finished: bool) -> tuple[list[Compared], str]:
    """Every figure of the plan, and the currency of its money; none of a run without a plan."""
    plan = latest_plan(run.store, run.name)
    if plan is None:
        return [], ""
    stages = [_status(run, stage, figures) for stage in run.spec.stages]
    return against_plan(run, plan, stages, finished), plan.currency


def _status(run: Run, stage: str, figures: pl.DataFrame) -> StageStatus:
    of = figures.filter(pl.col("stage") == stage)
    said = dict(zip(of["name"], of["value"], strict=True))

    def under(prefix: str) -> dict[str, int]:
        return {
            name.removeprefix(prefix): int(value)
            for name, value in said.items() if name.startswith(prefix)
        }  # fmt: skip

    return StageStatus(
        stage=stage,
        shards_done=int(said.get("shards", 0)),
        shards=run.spec.plan.shards,
        rows=int(said.get("rows", 0)),
        drops=under("drops."),
        counts=under("counts."),
        seconds=said.get("seconds", 0.0),
        committed=[],
        bytes=int(said.get("bytes", 0)),
        engine_s=said.get("engine_s", 0.0),
    )
