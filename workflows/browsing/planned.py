"""The plan of a run beside what the commits in its index came to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from storage.runs.plans import Plan
from storage.runs.run import Run
from workflows.planning.against import Compared, Done, compared
from workflows.stages import road_of


def planned(run: Run, stages: Sequence[dict[str, Any]], plan: Plan) -> list[Compared]:
    """A plan's figures beside what the commits of `stages`, as `glance` lists them, came to."""
    roles = {spec.name: spec.role for spec in road_of(run.spec.stages[1:])}
    done = [
        Done(
            roles.get(of["stage"], "cpu"), of["rows"], of["bytes"], of["counts"], of["engine_s"]
        )
        for of in stages
    ]  # fmt: skip
    finished = all(of["shards"] == of["of_shards"] for of in stages)
    return compared(plan, done, finished)
