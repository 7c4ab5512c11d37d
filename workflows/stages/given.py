"""Stages `given`, `reused` and, behind `given`, another `sample`: solutions that a file gives.

The driver commits stage `given` when it starts the run, like the input. Stage `sample` then grades
the solutions and makes paths of them, without a model. The stages behind it are the usual ones.
Stage `reused` has rollouts of an earlier run, to which the usual `sample` adds the policy's own.

Invariant: every solution becomes a path. It is selected if it is whole and the first with its
steps. Its answer is graded like a sampled one; without an answer, the file says if it is right.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from actors.workers.contract import PureStage, ShardResult, process_items
from storage.errors import InputError, ItemError
from storage.rows.kinds import GIVEN, PATHS, PROBLEMS, REUSED, ShardRows
from storage.rows.records import Path, Problem
from workflows.sampling.quota import Unsampled
from workflows.settings import StageSettings
from workflows.stages.kit import KitStage, Stage
from workflows.stages.sample import counts, taken


class Ungiven(StrEnum):
    """Why a problem does not go on to its given solutions; closed."""

    NO_SOLUTION = "no_solution"
    """The file `solutions` has none of it."""


class Giver(PureStage):
    """The driver has committed the stage's shards before any worker starts."""

    async def run(self, rows: ShardRows) -> ShardResult[Any]:
        """Raise InputError: the driver was interrupted before all of them were committed."""
        raise InputError("the run was interrupted while its solutions were stored: start it again")


class SolutionTaker(KitStage[StageSettings]):
    """Stage `sample` of given solutions."""

    async def run(self, rows: ShardRows) -> ShardResult[Path]:
        """Make a path of every solution; drop a problem of which none is whole.

        Raises InfrastructureError.
        """
        given = {row.problem_id: row for row in rows[GIVEN]}
        paths_of: dict[str, list[Path]] = {}

        async def one(problem: Problem) -> list[Path]:
            solutions = given[problem.problem_id].solutions
            paths = await taken(problem, solutions, self.kit.grader)
            paths_of[problem.problem_id] = paths
            if not any(path.selected for path in paths):
                raise ItemError(Unsampled.NO_VALID_PATH, f"{len(paths)} solutions")
            return paths

        entered = [problem for problem in rows[PROBLEMS] if problem.problem_id in given]
        _, drops = await process_items(entered, lambda problem: problem.problem_id, one)
        paths = tuple(path for problem in entered for path in paths_of.get(problem.problem_id, ()))
        return ShardResult(paths, tuple(drops), counts(paths, drops))


GIVE = Stage(
    rows=GIVEN,
    role="cpu",
    reads=(PROBLEMS,),
    says="has the solutions of `solutions`, which stage `sample` then takes and grades",
    drops=tuple(Ungiven),
    make=lambda kit: Giver(),
)
REUSE = Stage(
    rows=REUSED,
    role="cpu",
    reads=(PROBLEMS,),
    says="has rollouts of an earlier run, which stage `sample` counts for its quotas",
    caveat="""\
- Some solutions are no samples of the policy: rollouts that an earlier run made from the states of
  its paths (`sample.reuse_rollouts`). `origin` in the rows of stage `sample` says which, and the
  model that wrote them. Pass@1 is of the policy's own samples.
""",
    make=lambda kit: Giver(),
)
TAKE = Stage(
    rows=PATHS,
    role="cpu",
    reads=(PROBLEMS, GIVEN),
    says="takes the solutions that were given, and grades their answers",
    passed="given",
    drops=(Unsampled.NO_VALID_PATH,),
    make=SolutionTaker,
)
"""Stage `sample` on a road with `given`."""
