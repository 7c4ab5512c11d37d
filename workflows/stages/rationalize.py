"""Stage `rationalize`: a written verification of every step, with code that was really run.

The model writes, pauses behind a code block, reads what its code printed, and goes on. At the end
it is asked several times, behind the same text, for the index of the first wrong step. What it
wrote beyond an unrun block, or as an output of its own, is cut off. A text of another form is
continued behind its last good paragraph.

Invariant: paths are reduced to problem and steps first, so that neither answer nor label reaches a
prompt. When the sandbox itself fails, the solution is tried again from its start with the same
seeds. A rationale that shows an unrun block or output is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial

from actors.engines.contract import Refusal
from actors.engines.served.capabilities import Need
from actors.sandbox.contract import Rejected
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
from workflows.stages.kit import HARD_STEPS_ARE_RARE, TEMPLATE, Kit, KitStage, Stage
from workflows.stages.writing.code_loop import execute, run_block, write_and_run
from workflows.stages.writing.draft import Draft, Solution, solutions_of

VOTE_TOKENS = 16
"""Generated tokens of one index vote: a sign, digits, a closing brace."""
CUTS = 3
"""How often an unrun block or output is cut off before a rationale is dropped."""
RESUMES = 2
"""How often a rationale of another form is continued behind its last good paragraph."""


class Unwritten(StrEnum):
    """Why a rationale is not finished; the list is closed."""

    TRUNCATED = "truncated"
    """It reaches the limit of tokens (`stages.rationalize.total_tokens`)."""
    TOO_MANY_CODE_ROUNDS = "too_many_code_rounds"
    """It has more code blocks than may be run (`stages.rationalize.code_rounds`)."""


@dataclass(slots=True)
class Spent:
    """The cost of a shard, with that of failed tries."""

    tokens: int = 0
    code_runs: int = 0
    lost: dict[str, list[Rationale]] = field(default_factory=dict)
    """Path -> texts that were dropped, in the order of their attempts."""


class RationaleWriter(KitStage[StageSettings]):
    """Writes verifications with the rationale model and a sandbox."""

    def __init__(self, kit: Kit[StageSettings]) -> None:
        super().__init__(kit)
        self._asked = settings = kit.settings.rationalize
        self._form = PaperForm(
            settings.output_chars,
            settings.state_verdict,
            settings.require_code,
            settings.system,
            rationale_turns(
                settings.examples, settings.state_verdict, settings.require_code, kit.texts
            ),
            kit.texts,
        )
        self._sampling = sampling_of(settings)
        self._votes_decide = "judge" in kit.settings.consensus.sources
        """Whether a path needs a readable vote."""

    async def run(self, rows: ShardRows) -> ShardResult[Rationale]:
        """Verify the labelled paths of a shard.

        A dropped text becomes a row too, with its reason, before the row of the text that stands.
        Drops, per path: the form's reasons (with `not_executed`), `too_long`,
        `too_many_code_rounds`, `truncated`, `sandbox_lost` (after all tries), `request_rejected`.
        Raises InfrastructureError, with SandboxUnavailable.
        """
        spent = Spent()

        async def one(solution: Solution) -> list[Rationale]:
            return [await self._verify(solution, spent)]

        solutions = solutions_of(rows, self.kit.reads(LABELS))
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

    async def _verify(self, solution: Solution, spent: Spent) -> Rationale:
        for attempt in range(self._asked.attempts - 1):
            try:
                return await self._attempt(solution, attempt, spent)
            except ItemError:
                continue  # only the last try's reason is counted
        return await self._attempt(solution, self._asked.attempts - 1, spent)

    async def _attempt(self, solution: Solution, attempt: int, spent: Spent) -> Rationale:
        return await retried_item(partial(self._write, solution, attempt, spent))

    async def _write(self, solution: Solution, attempt: int, spent: Spent) -> Rationale:
        draft = Draft(self._form.chat(solution.problem, solution.steps))
        try:
            row = await self._written(draft, solution, attempt)
            heard = not self._votes_decide or any(vote is not None for vote in row.votes)
            note_reply([Text(solution.path_id, row.text, None if heard else "no_vote")])
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
        async with Interpreter(self.kit.sandbox, key) as interpreter:
            item = f"{solution.path_id}\x1f{attempt}"
            await self._drafted(draft, interpreter, item, len(solution.steps))
            while self._taken_up(draft, len(solution.steps)):
                await self._drafted(draft, interpreter, item, len(solution.steps))
        analyses, verifications = self._read(draft, len(solution.steps))
        executions: list[CodeRun] = []
        if self._asked.execute:
            shown = self._form.shown_code(analyses, verifications)
            executions = await self._as_shown(shown, draft, key)
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
        """A row of a draft, without what the form reads from its text."""
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
            model=self.kit.model,
            seed=self.kit.seed_of(f"{solution.path_id}\x1f{attempt}\x1f0"),
            tokens=draft.tokens,
            executed=self._asked.execute,
            attempt=attempt,
            backends=sorted(draft.backends) or None,
        )

    def _taken_up(self, draft: Draft, steps: int) -> bool:
        """Cut a text of another form back to its last good paragraph; return whether to go on."""
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
        """Read the paragraphs. Raises ItemError with the first fault of the form."""
        try:
            return self._form.paragraphs(draft.text, steps)
        except ItemError as error:
            first, draft.text = draft.trouble or (error, draft.text)
            if not draft.cuts:
                raise first from error
            raise ItemError(first.reason, f"{first.detail}; {draft.cut_back}") from error

    async def _drafted(self, draft: Draft, interpreter: Interpreter, item: str, steps: int) -> None:
        """Write the draft; an endless conclusion is cut off, since it is not read."""
        try:
            await self._wrote(draft, interpreter, item)
        except ItemError as error:
            spent = error.reason in tuple(Unwritten)
            done = self._form.concluded(draft.text, steps) if spent else None
            if done is None:
                raise
            self._cut_back(draft, *done)

    async def _wrote(self, draft: Draft, interpreter: Interpreter, item: str) -> None:
        """Write until the model ends its thinking, with code run in between.

        Raises ItemError `truncated` at the limit of all calls together.
        """
        stops = (*self._form.stops, self._form.output_stop)
        stops = stops if self._asked.execute else self._form.stops

        async def go_on() -> bool:
            room = self._asked.total_tokens - draft.size
            if room <= 0:
                raise ItemError(Unwritten.TRUNCATED, f"{draft.size} tokens in {draft.calls} calls")
            reply = await self.kit.engine.generate(
                replace(draft.chat, prefill=draft.text),
                replace(
                    self._sampling,
                    n=1,
                    max_tokens=min(self._sampling.max_tokens, room),
                    stop=stops,
                    include_stop=True,
                    seed=self.kit.seed_of(f"{item}\x1f{draft.calls}"),
                ),
            )
            (written,) = reply.completions
            draft.extend(written, reply.prompt_tokens)
            ends = (None, self._form.thinking_stop)
            return written.finish_reason == "stop" and written.stop_string in ends

        async def run(code: str) -> None:
            if len(draft.seen) >= self._asked.code_rounds:
                raise ItemError(Unwritten.TOO_MANY_CODE_ROUNDS, f"{self._asked.code_rounds} blocks")
            step = self._form.step_of(draft.text)
            await execute(draft, self._form, interpreter, step, code, self.kit.limits)
            draft.seen.append(code)

        def cut() -> None:
            draft.cuts += 1
            draft.forgiven = True
            if draft.cuts > CUTS:
                raise ItemError(Unreadable.NOT_EXECUTED, draft.cut_back)

        await write_and_run(draft, self._form, go_on, run if self._asked.execute else None, cut)

    async def _as_shown(
        self, shown: Sequence[tuple[int, str, str]], draft: Draft, key: str
    ) -> list[CodeRun]:
        """The executions of the blocks in the text, in their order there.

        If the interpreter ran other blocks, or in another order, a fresh one runs them again.
        Raises ItemError `not_executed` if one then prints another output than the text shows.
        """
        if [code for _, code, _ in shown] == draft.seen:
            pairs = zip(draft.executions, shown, strict=True)
            return [replace(run, step=step) for run, (step, _, _) in pairs]
        again: list[CodeRun] = []
        try:
            async with Interpreter(self.kit.sandbox, f"{key}/replay") as interpreter:
                for step, code, output in shown:
                    run, _ = await run_block(self._form, interpreter, step, code, self.kit.limits)
                    draft.backends |= interpreter.backends
                    again.append(run)
                    if run.output.rstrip("\n") != output:
                        raise ItemError(
                            Unreadable.NOT_EXECUTED,
                            f"paragraph {step + 1}: run again in the order of the paragraphs, the "
                            "code block prints something else",
                        )
        finally:
            draft.replayed += len(again)
        return again

    async def _votes(self, draft: Draft, solution: Solution, attempt: int) -> list[int | None]:
        """Ask for the index of the first wrong step, several times in one request."""
        reply = await self.kit.engine.generate(
            replace(draft.chat, prefill=self._form.conclude(draft.text), thought_ends=True),
            replace(
                self._sampling,
                n=self._asked.votes,
                max_tokens=VOTE_TOKENS,
                stop=(self._form.vote_stop,),
                include_stop=False,
                seed=self.kit.seed_of(f"{solution.path_id}\x1f{attempt}\x1fvote"),
            ),
        )
        draft.tokens += sum(vote.tokens for vote in reply.completions)
        return [self._form.vote(vote.text, len(solution.steps)) for vote in reply.completions]


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
    remedy=f"the rationale model does not keep the form of a verification: {TEMPLATE}, show it "
    "`stages.rationalize.examples`, or take a stronger one",
    longest="stages.rationalize.total_tokens",
    says="writes an analysis and Python that is run for every step, and judges by them",
    settings=RationalizeSettings,
    passed="with a readable rationale",
    caveat="""\
- Analyses and code are written by a model. Every code output is real (the code was run), but a
  model may have checked something other than the step.
""",
    lacks=HARD_STEPS_ARE_RARE,
    drops=(*Unreadable, *Unwritten, *Refusal, *Rejected),
    make=RationaleWriter,
)
