"""Stage `formalize`: runs a theorem prover's program for each step in the sandbox, without a model.

Invariant: a verdict is what the prover printed. A program that did not run to its end gives none.
When the sandbox itself fails, the solution is tried again from its first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from actors.sandbox.contract import Rejected
from actors.sandbox.session import Interpreter, retried_item
from actors.workers.contract import ShardResult, process_items
from storage.rows.kinds import FORMALIZED, LABELS, PATHS, PROBLEMS, ShardRows
from storage.rows.records import CodeRun, Path, Rationale
from storage.runs.specs import Difference, Spec
from workflows.formats.paper_form import PaperForm
from workflows.judging.formal import Informal, in_words, programs
from workflows.settings import StageSettings
from workflows.stages.code_loop import run_block
from workflows.stages.judge import entering
from workflows.stages.kit import KitStage, Stage


class FormalVerifier(KitStage[StageSettings]):
    """Runs the programs of every path's steps."""

    async def run(self, rows: ShardRows) -> ShardResult[Rationale]:
        """Prove or refute every step of a shard's paths.

        Drops, per path: the programs' reasons, `sandbox_lost`. Raises InfrastructureError.
        """
        problems = {problem.problem_id: problem.problem for problem in rows[PROBLEMS]}

        async def verify(path: Path) -> list[Rationale]:
            texts = programs(problems[path.problem_id], path.steps)
            return [await retried_item(partial(self._prove, path, texts))]

        paths = entering(rows, self.kit.reads(LABELS))
        rationales, drops = await process_items(paths, lambda path: path.path_id, verify)
        return ShardResult(
            tuple(rationales),
            tuple(drops),
            {"code_runs": sum(len(row.executions) for row in rationales)},
        )

    async def _prove(self, path: Path, programs: Sequence[str]) -> Rationale:
        executions: list[CodeRun] = []
        verifications: list[str] = []
        form = PaperForm(self.kit.settings.rationalize.output_chars)
        async with Interpreter(self.kit.sandbox, path.path_id) as interpreter:
            for step, program in enumerate(programs):
                run, block = await run_block(form, interpreter, step, program, self.kit.limits)
                executions.append(run)
                verifications.append(f"```python\n{program}\n```\n{block}".rstrip("\n"))
        return Rationale(
            path_id=path.path_id,
            problem_id=path.problem_id,
            analyses=[in_words(step) for step in path.steps],
            verifications=verifications,
            executions=executions,
            votes=[],
            text="",
            code_rounds=len(executions),
            finish_reason="stop",
            model="",
            seed=0,
            tokens=0,
            backends=sorted(interpreter.backends) or None,
        )


def _redone(setting: str, difference: Difference, spec: Spec) -> bool | None:
    return True if setting == "rationalize.output_chars" else None


FORMALIZE = Stage(
    rows=FORMALIZED,
    role="cpu",
    reads=(PROBLEMS, PATHS, LABELS),
    without=(LABELS,),
    names_only=(LABELS,),
    runs_code=True,
    verifies=True,
    says="asks a theorem prover about every step, where it can be put into formulas",
    redone=_redone,
    passed="put into formulas",
    caveat="""\
- Judgements are a theorem prover's, of the formulas that a program read from the steps: solutions
  that it could not read were dropped, and whatever else a step says was not judged.
""",
    drops=(*Informal, *Rejected),
    make=FormalVerifier,
)
