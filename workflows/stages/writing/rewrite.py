"""Stage `rewrite`: kept rationales that contradict their labels, written again.

The writer is the one of `rationalize`, with other seeds, and sees what it saw: problem and steps. A
try takes the place of the whole rationale, since its code blocks share variables.

Invariant: neither answer nor label reaches a prompt; a label only decides which try stays. Every
kept path has a row: its first rationale, unless a try without a contradiction replaced it.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.workers.contract import ShardResult, process_items
from storage.errors import ItemError
from storage.rows.kinds import AGREEMENTS, PATHS, PROBLEMS, RATIONALES, REWRITTEN, ShardRows
from storage.rows.records import Agreement, Rationale
from workflows.judging.contradictions import contradictions
from workflows.stages.kit import Stage
from workflows.stages.rationalize import RATIONALIZE, RationaleWriter, Spent
from workflows.stages.writing.draft import Solution, solutions_of


class Rewriter(RationaleWriter):
    """Writes contradicted rationales again, with the rationale model and a sandbox."""

    async def run(self, rows: ShardRows) -> ShardResult[Rationale]:
        """A rationale for each kept path of a shard.

        `stages.rationalize.attempts` tries each. Raises InfrastructureError, with
        SandboxUnavailable.
        """
        first = {row.path_id: row for row in rows[RATIONALES]}
        solutions = {solution.path_id: solution for solution in solutions_of(rows, False)}
        spent = Spent()

        async def one(kept: Agreement) -> list[Rationale]:
            written = first[kept.path_id]
            if any(contradictions(written, kept.labels)):
                again = await self._again(solutions[kept.path_id], kept.labels, spent)
                return [again or written]
            return [written]

        kept = [row for row in rows[AGREEMENTS] if row.kept]
        written, drops = await process_items(kept, lambda row: row.path_id, one)
        replaced = sum(row != first[row.path_id] for row in written)
        counts = {"tokens": spent.tokens, "code_runs": spent.code_runs, "rewritten": replaced}
        return ShardResult(tuple(written), tuple(drops), counts)

    async def _again(
        self, solution: Solution, labels: Sequence[bool], spent: Spent
    ) -> Rationale | None:
        """The first try that contradicts no label; None if none does."""
        for attempt in range(self._asked.attempts):
            try:
                written = await self._attempt(solution, attempt, spent)
            except ItemError:
                continue  # unreadable, and counted where it was written
            if not any(contradictions(written, labels)):
                return written
        return None


REWRITE = Stage(
    rows=REWRITTEN,
    role=RATIONALIZE.role,
    asks=RATIONALIZE.asks,
    reads=(PROBLEMS, PATHS, RATIONALES, AGREEMENTS),
    runs_code=True,
    needs=RATIONALIZE.needs,
    remedy=RATIONALIZE.remedy,
    longest=RATIONALIZE.longest,
    says="writes kept rationales again that contradict their labels, without knowing those",
    also=RATIONALIZE.groups,
    make=Rewriter,
)
