"""What the stages that grow a tree per problem share: which problems have one, and their drops."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from actors.workers.contract import process_items
from storage.rows.kinds import PATHS, PROBLEMS, ShardRows
from storage.rows.records import Drop, Path, Problem
from workflows.stages.label import by_problem

Row = TypeVar("Row")


async def grown_trees(
    rows: ShardRows, grow: Callable[[Problem, Sequence[Path]], Awaitable[list[Row]]]
) -> tuple[list[Row], list[Drop]]:
    """Grow a tree for each problem with selected paths: (rows of all trees, drops).

    If a problem fails, all its selected paths are dropped. Raises InfrastructureError.
    """
    paths = by_problem([path for path in rows[PATHS] if path.selected])

    async def one(problem: Problem) -> list[Row]:
        return await grow(problem, paths[problem.problem_id])

    problems = [problem for problem in rows[PROBLEMS] if problem.problem_id in paths]
    grown, lost = await process_items(problems, lambda problem: problem.problem_id, one)
    return grown, [replace(drop, item=path.path_id) for drop in lost for path in paths[drop.item]]
