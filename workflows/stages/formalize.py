"""Stage `formalize`: runs a theorem prover's program for each step in the sandbox, without a model.

The programs come from a function that knows the problems' language (`formalize.by`), or are made
of the statements that stage `translate` wrote.

Invariant: a verdict is what the prover printed. A program that did not run to its end gives none.
When the sandbox itself fails, the solution is tried again from its first step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from actors.sandbox.contract import Rejected
from actors.sandbox.session import Interpreter, retried_item
from actors.workers.contract import ShardResult, process_items
from storage.bounds import STRICT
from storage.errors import ConfigurationError
from storage.imported import imported
from storage.rows.kinds import FORMALIZED, LABELS, PATHS, PROBLEMS, TRANSLATIONS, ShardRows
from storage.rows.records import CodeRun, Path, Rationale, Translation
from storage.runs.specs import Difference, Spec
from workflows.formats.paper_form import PaperForm
from workflows.formats.statements import Informal
from workflows.judging.proving import in_words, programs
from workflows.settings import StageSettings
from workflows.stages.judge import entering
from workflows.stages.kit import Kit, KitStage, Stage
from workflows.stages.writing.code_loop import run_block

Formaliser = Callable[[str, Sequence[str]], list[str]]
"""(problem, steps) -> a program per step. Raises ItemError where it can't read one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormalizeSettings:
    """Stage `formalize`: where the formulas come from."""

    __pydantic_config__ = STRICT

    by: str | None = None
    """A function `package.module:function` of problem and steps that returns a program per step,
    such as `demo.formal:programs`. None: the statements of stage `translate`."""


class FormalVerifier(KitStage[StageSettings]):
    """Runs the programs of every path's steps."""

    def __init__(self, kit: Kit[StageSettings]) -> None:
        super().__init__(kit)
        self._formaliser = _formaliser(kit.own)

    async def run(self, rows: ShardRows) -> ShardResult[Rationale]:
        """Prove or refute every step of a shard's paths.

        Drops, per path: the programs' reasons, `sandbox_lost`. Raises InfrastructureError.
        """
        problems = {problem.problem_id: problem.problem for problem in rows[PROBLEMS]}

        translated = {row.path_id: row for row in rows[TRANSLATIONS]}

        async def verify(path: Path) -> list[Rationale]:
            texts = self._programs(problems[path.problem_id], path, translated.get(path.path_id))
            return [await retried_item(partial(self._prove, path, texts))]

        paths = entering(rows, self.kit.reads(LABELS))
        if self._formaliser is None:
            paths = [path for path in paths if path.path_id in translated]
        rationales, drops = await process_items(paths, lambda path: path.path_id, verify)
        return ShardResult(
            tuple(rationales),
            tuple(drops),
            {"code_runs": sum(len(row.executions) for row in rationales)},
        )

    def _programs(self, problem: str, path: Path, row: Translation | None) -> list[str]:
        if self._formaliser is not None:
            return self._formaliser(problem, path.steps)
        assert row is not None
        return programs(row.premises, row.claims)

    async def _prove(self, path: Path, programs: Sequence[str]) -> Rationale:
        executions: list[CodeRun] = []
        verifications: list[str] = []
        form = PaperForm(self.kit.settings.rationalize.output_chars)
        async with Interpreter(self.kit.sandbox, path.path_id) as interpreter:
            for step, program in enumerate(programs):
                run, block = await run_block(form, interpreter, step, program, self.kit.limits)
                executions.append(run)
                verifications.append((form.code_block(program) + block).rstrip("\n"))
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


def _formaliser(settings: FormalizeSettings) -> Formaliser | None:
    """The function that the settings name. Raises ConfigurationError."""
    return None if settings.by is None else imported(settings.by, "`formalize.by`")


def _check(settings: StageSettings) -> None:
    asked: FormalizeSettings = getattr(settings, FORMALIZED.stage)
    _formaliser(asked)
    if (asked.by is None) != (TRANSLATIONS.stage in settings.road):
        raise ConfigurationError(
            "stage `formalize` has one source of formulas: name a function as `formalize.by` "
            "(`demo.formal:programs` for the demo's logic problems), or put stage `translate`, a "
            "model that writes them, before it"
        )


def _redone(setting: str, difference: Difference, spec: Spec) -> bool | None:
    return True if setting == "rationalize.output_chars" else None


FORMALIZE = Stage(
    rows=FORMALIZED,
    role="cpu",
    reads=(PROBLEMS, PATHS, LABELS, TRANSLATIONS),
    without=(LABELS, TRANSLATIONS),
    names_only=(LABELS,),
    runs_code=True,
    verifies=True,
    says="asks a theorem prover about every step, where it can be put into formulas",
    settings=FormalizeSettings,
    check=_check,
    redone=_redone,
    passed="put into formulas",
    caveat="""\
- Judgements are a theorem prover's, of the formulas that a program or a model read from the steps:
  solutions that it could not read were dropped, and whatever else a step says was not judged.
""",
    drops=(Informal.NOT_FORMAL, *Rejected),
    make=FormalVerifier,
)
