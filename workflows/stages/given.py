"""Stages `given` and, behind it, another `sample`: solutions that a file gives.

The driver commits stage `given` when it starts the run, like the input. Stage `sample` then grades
the solutions and makes paths of them, without a model. The stages behind it are the usual ones.

Invariant: every solution becomes a path. It is selected if it is whole and the first with its
steps. Its answer is graded like a sampled one; without an answer, the file says if it is right.
"""

from __future__ import annotations

from enum import StrEnum

from actors.workers.contract import PureStage, ShardResult, process_items
from storage.errors import InputError, ItemError
from storage.rows.kinds import GIVEN, PATHS, PROBLEMS, ShardRows
from storage.rows.records import GivenSolutions, Path, Problem
from workflows.formats import steps
from workflows.formats.steps import flaw
from workflows.sampling.quota import Unsampled
from workflows.settings import StageSettings
from workflows.stages.kit import KitStage, Stage
from workflows.stages.sample import counts


class Ungiven(StrEnum):
    """Why a problem does not go on to its given solutions; closed."""

    NO_SOLUTION = "no_solution"
    """The file `solutions` has none of it."""


class Giver(PureStage):
    """Stage `given`: the driver has committed its shards before any worker starts."""

    async def run(self, rows: ShardRows) -> ShardResult[GivenSolutions]:
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
            paths = await self._paths(problem, given[problem.problem_id])
            paths_of[problem.problem_id] = paths
            if not any(path.selected for path in paths):
                raise ItemError(Unsampled.NO_VALID_PATH, f"{len(paths)} solutions")
            return paths

        entered = [problem for problem in rows[PROBLEMS] if problem.problem_id in given]
        _, drops = await process_items(entered, lambda problem: problem.problem_id, one)
        paths = tuple(path for problem in entered for path in paths_of.get(problem.problem_id, ()))
        return ShardResult(paths, tuple(drops), counts(paths, drops))

    async def _paths(self, problem: Problem, given: GivenSolutions) -> list[Path]:
        answers = [solution.answer for solution in given.solutions]
        verdicts = await self.kit.grader.grade(problem.answer, answers)
        first_with: dict[str, str] = {}
        paths = []
        for index, (solution, right) in enumerate(zip(given.solutions, verdicts, strict=True)):
            name, text = f"{problem.problem_id}#{index}", steps.join(solution.steps)
            known = solution.answer is not None or solution.correct is not None
            reason = flaw("stop", text, "known" if known else None)
            twin = first_with.setdefault(text, name)
            paths.append(
                Path(
                    path_id=name,
                    problem_id=problem.problem_id,
                    index=index,
                    round=0,
                    text=text,
                    steps=list(solution.steps),
                    finish_reason="stop",
                    answer=solution.answer,
                    correct=right if solution.answer is not None else bool(solution.correct),
                    valid=reason is None,
                    invalid_reason=reason,
                    duplicate_of=None if twin == name else twin,
                    selected=reason is None and twin == name,
                    tokens=0,
                    seed=0,
                )
            )
        return paths


GIVE = Stage(
    rows=GIVEN,
    role="cpu",
    reads=(PROBLEMS,),
    says="has the solutions of `solutions`, which stage `sample` then takes and grades",
    drops=tuple(Ungiven),
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
