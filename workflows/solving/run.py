"""Solves problems with a policy and a verifier, as a run with a short road of its own.

    problems ─► solve        (policy and verifier model, and the sandbox in the modes that run code)

Invariant: it is a run like any other. Its spec holds all that the answers depend on, each shard is
committed once, and a restarted run makes the uncommitted ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from actors.stopping import anywhere, awaitable
from storage.rows.kinds import PROBLEMS, SOLVED
from storage.rows.records import Problem, Solved
from storage.runs.run import Run
from workflows.runs.listening import SILENT, Listener
from workflows.runs.run import run
from workflows.solving.settings import SolveConfig


@anywhere
def solve(
    config: SolveConfig,
    problems: Sequence[Problem] | None = None,
    *,
    address: str | None = None,
    listener: Listener = SILENT,
) -> Run:
    """Solve problems (by default those of the configuration's file) and return the finished run.

    Starts the run, continues it, or finds it finished. `solved(run)` gives what was found. Raises
    UserError before any work, SpecMismatch if the run was started with other settings,
    InfrastructureError.
    """
    return run(config, problems, address=address, listener=listener)


solve_async = awaitable(solve)


def solved(run: Run) -> Iterator[tuple[Problem, Solved | None]]:
    """Every problem of a run with its search, shard by shard; None where no search was made."""
    for commit in run.commits(SOLVED.stage):
        found = {row.problem_id: row for row in run.rows_of(commit, SOLVED)}
        for problem in run.read_rows(PROBLEMS, commit.shard):
            yield problem, found.get(problem.problem_id)
