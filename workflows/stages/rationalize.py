"""Stage `rationalize`: a written verification of every step, with code that was really run.

The model writes, pauses behind a code block, reads what its code printed, and goes on; at the end
the same text is asked several times for the index of the first wrong step. What it wrote beyond a
block that was still to be run, or as an output of its own, is cut off before it goes on; a text of
another form goes on behind its last good paragraph.

Invariant: paths are reduced to problem and steps before anything else, so that neither answer nor
label can reach a prompt; the sandbox's own trouble is retried from the start of the solution,
with the same seeds, and never becomes a code output; a rationale that shows a block or an output
that was not run is a drop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from actors.engines.contract import Engine, Refusal, Sampling
from actors.engines.served.capabilities import Need
from actors.sandbox.contract import Limits, Rejected, Sandbox
from actors.sandbox.session import Interpreter, retried_item
from actors.workers.contract import ShardResult, process_items
from actors.workers.yields import Text, note_reply
from storage.errors import ItemError
from storage.rows.kinds import LABELS, PATHS, PROBLEMS, RATIONALES, ShardRows
from storage.rows.records import FORGIVING, STRICT, CodeRun, Rationale
from workflows.formats.paper_form import PaperForm
from workflows.formats.rationale import Unreadable
from workflows.formats.worked_examples import rationale_turns
from workflows.settings import RationalizeSettings, StageSettings, sampling_of
from workflows.stages.kit import HARD_STEPS_ARE_RARE, Kit, Stage
from workflows.writing.code_loop import Budget, CodeLoop, Unwritten, seed_of
from workflows.writing.draft import Draft
from workflows.writing.form import RationaleForm, Solution, solutions_of

VOTE_TOKENS = 16
"""Generated tokens of one index vote: a sign, digits, a closing brace."""
RESUMES = 2
"""How often a rationale of another form is taken up again behind its last good paragraph."""


@dataclass(slots=True)
class _Spent:
    """What a shard cost, tries that came to nothing included."""

    tokens: int = 0
    code_runs: int = 0
    lost: dict[str, list[Rationale]] = field(default_factory=dict)
    """Path -> texts that were dropped, in the order of their attempts."""


class RationaleWriter:
    """Writes verifications with the rationale model and a sandbox."""

    def __init__(
        self,
        engine: Engine,
        sandbox: Sandbox,
        *,
        form: RationaleForm,
        sampling: Sampling,
        budget: Budget,
        limits: Limits,
        model: str,
        seed: int,
        labelled: bool = True,
    ) -> None:
        """`sampling` gives temperature, top_p, top_k and max_tokens of one call.

        `labelled`: whether only labelled paths enter; else all that are selected.
        """
        self._labelled = labelled
        self._engine = engine
        self._sandbox = sandbox
        self._form = form
        self._sampling = sampling
        self._budget = budget
        self._model = model
        self._loop = CodeLoop(engine, sandbox, form, sampling, budget, limits, seed)
        self._seed = seed

    async def run(self, rows: ShardRows) -> ShardResult[Rationale]:
        """Verify the labelled paths of a shard.

        A text that was dropped becomes a row too, with its reason, before the one that stands.
        Drops, per path: the form's reasons (`not_executed` among them), `too_long`,
        `too_many_code_rounds`, `truncated`, `sandbox_lost` (the infrastructure's, after all
        tries), `request_rejected`. Raises InfrastructureError, SandboxUnavailable among them.
        """
        spent = _Spent()

        async def one(solution: Solution) -> list[Rationale]:
            return [await self._verify(solution, spent)]

        solutions = solutions_of(rows, self._labelled)
        written, drops = await process_items(solutions, lambda solution: solution.path_id, one)
        stands = {row.path_id: [row] for row in written}
        names = [solution.path_id for solution in solutions]
        return ShardResult(
            tuple(
                row for name in names for row in (*spent.lost.get(name, ()), *stands.get(name, ()))
            ),
            tuple(drops),
            {
                "tokens": spent.tokens,
                "code_runs": spent.code_runs,
                "dropped_texts": sum(map(len, spent.lost.values())),
                "votes": sum(len(row.votes) for row in written),
                "unreadable_votes": sum(row.votes.count(None) for row in written),
            },
        )

    async def close(self) -> None:
        """Stop the engine and the sandbox."""
        try:
            await self._engine.close()
        finally:
            await self._sandbox.close()

    async def _verify(self, solution: Solution, spent: _Spent) -> Rationale:
        for attempt in range(self._budget.attempts - 1):
            try:
                return await self._attempt(solution, attempt, spent)
            except ItemError:
                continue  # only the last try's reason is counted
        return await self._attempt(solution, self._budget.attempts - 1, spent)

    async def _attempt(self, solution: Solution, attempt: int, spent: _Spent) -> Rationale:
        return await retried_item(
            partial(self._write, solution, attempt, spent), self._budget.sandbox_attempts
        )

    async def _write(self, solution: Solution, attempt: int, spent: _Spent) -> Rationale:
        draft = Draft(self._form.chat(solution.problem, solution.steps))
        try:
            row = await self._written(draft, solution, attempt)
            unheard = self._budget.heard and not any(vote is not None for vote in row.votes)
            note_reply([Text(solution.path_id, row.text, "no_vote" if unheard else None)])
            return row
        except ItemError as error:
            if draft.calls:
                note_reply([Text(solution.path_id, draft.text, error.reason)])
                row = self._row(draft, solution, attempt, draft.executions)
                lost = spent.lost.setdefault(solution.path_id, [])
                lost.append(replace(row, dropped=str(error)))
            raise
        finally:
            spent.tokens += draft.tokens
            spent.code_runs += len(draft.seen) + draft.replayed

    async def _written(self, draft: Draft, solution: Solution, attempt: int) -> Rationale:
        key = f"{solution.path_id}/{attempt}"
        async with Interpreter(self._sandbox, key) as interpreter:
            item = f"{solution.path_id}\x1f{attempt}"
            await self._drafted(draft, interpreter, item, len(solution.steps))
            while self._taken_up(draft, len(solution.steps)):
                await self._drafted(draft, interpreter, item, len(solution.steps))
        analyses, verifications = self._read(draft, len(solution.steps))
        executions: list[CodeRun] = []
        if self._budget.execute:
            shown = self._form.shown_code(analyses, verifications)
            executions = await self._loop.as_shown(shown, draft, key)
            self._form.check_executed(analyses, verifications, executions)
        votes = await self._votes(draft, solution, attempt)
        strict = not draft.forgiven and self._form.is_strict(draft.text, len(solution.steps))
        return replace(
            self._row(draft, solution, attempt, executions),
            analyses=analyses,
            verifications=verifications,
            votes=votes,
            reading=STRICT if strict else FORGIVING,
        )

    def _row(
        self, draft: Draft, solution: Solution, attempt: int, executions: Sequence[CodeRun]
    ) -> Rationale:
        """A draft as a row, in which nothing was read yet."""
        return Rationale(
            path_id=solution.path_id,
            problem_id=solution.problem_id,
            analyses=[],
            verifications=[],
            executions=list(executions),
            votes=[],
            text=draft.text,
            code_rounds=len(draft.seen),
            finish_reason="stop",
            model=self._model,
            seed=seed_of(self._seed, f"{solution.path_id}\x1f{attempt}", "0"),
            tokens=draft.tokens,
            executed=self._budget.execute,
            attempt=attempt,
        )

    def _taken_up(self, draft: Draft, steps: int) -> bool:
        """Cut a text of another form back to its last good paragraph; whether it has to go on."""
        try:
            self._form.paragraphs(draft.text, steps)
        except ItemError as error:
            draft.trouble = draft.trouble or (error, draft.text)
            good = self._form.last_good(draft.text, steps) if draft.resumes < RESUMES else None
            if good is None:
                return False
            text, blocks, whole = good
            self._cut_back(draft, text, blocks)
            return not whole
        return False

    def _cut_back(self, draft: Draft, text: str, blocks: int) -> None:
        runs = draft.executions[:blocks]  # none where code is not run
        settled = text.rindex(self._form.code_block(runs[-1].code)) if runs else 0
        draft.take_up(text, runs, settled)

    def _read(self, draft: Draft, steps: int) -> tuple[list[str], list[str]]:
        """The paragraphs. Raises ItemError with what was first wrong."""
        try:
            return self._form.paragraphs(draft.text, steps)
        except ItemError as error:
            first, draft.text = draft.trouble or (error, draft.text)
            if not draft.cuts:
                raise first from error
            raise ItemError(first.reason, f"{first.detail}; {draft.cut_back}") from error

    async def _drafted(self, draft: Draft, interpreter: Interpreter, item: str, steps: int) -> None:
        """Written; a conclusion that never ends, and is not read, costs nothing but its tokens."""
        try:
            await self._loop.write(draft, interpreter, item)
        except ItemError as error:
            spent = error.reason in tuple(Unwritten)
            done = self._form.concluded(draft.text, steps) if spent else None
            if done is None:
                raise
            self._cut_back(draft, *done)

    async def _votes(self, draft: Draft, solution: Solution, attempt: int) -> list[int | None]:
        """Ask for the index of the first wrong step, several times in one request."""
        reply = await self._engine.generate(
            replace(draft.chat, prefill=self._form.conclude(draft.text), thought_ends=True),
            replace(
                self._sampling,
                n=self._budget.votes,
                max_tokens=VOTE_TOKENS,
                stop=(self._form.vote_stop,),
                include_stop=False,
                seed=seed_of(self._seed, f"{solution.path_id}\x1f{attempt}", "vote"),
            ),
        )
        draft.tokens += sum(vote.tokens for vote in reply.completions)
        return [self._form.vote(vote.text, len(solution.steps)) for vote in reply.completions]


def _writer(kit: Kit[StageSettings]) -> RationaleWriter:
    wanted = kit.settings.rationalize
    return RationaleWriter(
        kit.engine,
        kit.sandbox,
        form=PaperForm(
            wanted.output_chars,
            wanted.state_verdict,
            wanted.require_code,
            wanted.system,
            rationale_turns(wanted.examples, wanted.state_verdict, wanted.require_code, kit.texts),
            kit.texts,
        ),
        labelled=kit.reads(LABELS),
        sampling=sampling_of(wanted),
        budget=Budget(
            total_tokens=wanted.total_tokens,
            code_rounds=wanted.code_rounds,
            execute=wanted.execute,
            votes=wanted.votes,
            heard="judge" in kit.settings.consensus.sources,
            attempts=wanted.attempts,
        ),
        limits=kit.limits,
        model=kit.model,
        seed=kit.seed,
    )


RATIONALIZE = Stage(
    rows=RATIONALES,
    role="rationale",
    asks=("rationale_system", "rationale"),
    reads=(PROBLEMS, PATHS, LABELS),
    without=(LABELS,),
    names_only=(LABELS,),
    runs_code=True,
    needs=(Need.CONTINUES, Need.THOUGHTS),
    verifies=True,
    says="writes an analysis and Python that is run for every step, and judges by them",
    settings=RationalizeSettings,
    passed="with a readable rationale",
    caveat="""\
- Analyses and code are written by a model. Every code output is real (the code was run), but a
  model may have checked something other than the step.
""",
    lacks=HARD_STEPS_ARE_RARE,
    drops=(*Unreadable, *Unwritten, *Refusal, *Rejected),
    make=_writer,
)
