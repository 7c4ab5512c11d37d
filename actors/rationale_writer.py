"""Stage `rationalize`: a written verification of every step, with code that was really run.

The model writes, stops at a closed code block, reads what its code printed, and goes on; at the
end the same text is asked several times for the index of the first wrong step.

Invariant: paths are reduced to problem and steps before anything else, so that neither answer nor
label can reach a prompt; the sandbox's own trouble is retried from the start of the solution,
with the same seeds, and never becomes a code output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from actors.engine import Chat, Completion, Engine, Sampling
from actors.interpreter import Interpreter
from actors.sandbox.contract import Execution, Limits, Sandbox
from actors.stage import ShardResult, ShardRows, process_items
from storage.errors import ItemError, SandboxLost
from storage.records import CodeRun, Rationale
from storage.seeds import request_seed

VOTE_TOKENS = 16
"""Generated tokens of one index vote: a sign, digits, a closing brace."""


@dataclass(frozen=True, slots=True)
class Solution:
    """All that the writer may know of a path."""

    path_id: str
    problem_id: str
    problem: str
    steps: tuple[str, ...]


def solutions_of(rows: ShardRows, labelled_only: bool = True) -> list[Solution]:
    """Selected paths (that were labelled), reduced to what the writer may know."""
    problems = {problem.problem_id: problem.problem for problem in rows.problems}
    labelled = {labels.path_id for labels in rows.labels}
    return [
        Solution(path.path_id, path.problem_id, problems[path.problem_id], tuple(path.steps))
        for path in rows.paths
        if path.selected and (path.path_id in labelled or not labelled_only)
    ]


class RationaleForm(Protocol):
    """What the texts look like; every method is pure."""

    stops: tuple[str, ...]
    """Where generation pauses: a closed code block, `thinking_stop`."""
    thinking_stop: str
    """Where the verification ends."""
    vote_stop: str

    def chat(self, problem: str, steps: Sequence[str]) -> Chat:
        """All steps at once, and how the assistant's turn begins."""
        ...

    def code(self, written: str) -> str | None:
        """The Python block that `written` ends with; None where it ends otherwise."""
        ...

    def step_of(self, text: str) -> int:
        """0-based step that the text is verifying at its end."""
        ...

    def code_output(self, execution: Execution, limits: Limits) -> tuple[str, str]:
        """(what is fed back, the whole block that is appended to the text)."""
        ...

    def paragraphs(self, text: str, steps: int) -> tuple[list[str], list[str]]:
        """Analyses and verifications per step. Raises ItemError for a text of another form."""
        ...

    def conclude(self, text: str) -> str:
        """The text up to its last verification, opened for the index vote."""
        ...

    def vote(self, voted: str, steps: int) -> int | None:
        """0-based first error, -1 for none, None where it can't be read."""
        ...


@dataclass(frozen=True, slots=True)
class Budget:
    """What one rationale may cost."""

    total_tokens: int = 16384
    """Generated tokens and code outputs together."""
    code_rounds: int = 64
    """Executed blocks."""
    execute: bool = True
    votes: int = 4
    attempts: int = 1
    """Tries, each with its own seeds, before an unreadable rationale is dropped."""
    sandbox_attempts: int = 3
    """Tries of one solution, with unchanged seeds, when its sandbox is lost."""


class _Draft:
    """A rationale while it is written."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.text = chat.prefill
        self.executions: list[CodeRun] = []
        self.tokens = 0
        """Generated."""
        self.size = 0
        """Tokens of the assistant's turn, code outputs included, as of the last call."""
        self.calls = 0
        self._prompt: int | None = None

    def extend(self, written: Completion, prompt_tokens: int) -> None:
        """Append what one call wrote."""
        self._prompt = prompt_tokens if self._prompt is None else self._prompt
        self.text = written.after(self.text)
        self.tokens += written.tokens
        self.size = prompt_tokens - self._prompt + written.tokens
        self.calls += 1


@dataclass(slots=True)
class _Spent:
    """What a shard cost, tries that came to nothing included."""

    tokens: int = 0
    code_runs: int = 0


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
        self._limits = limits
        self._model = model
        self._seed = seed

    async def run(self, rows: ShardRows) -> ShardResult[Rationale]:
        """Verify the labelled paths of a shard.

        Drops, per path: the form's reasons, `too_long`, `too_many_code_rounds`, `truncated`,
        `sandbox_lost` (the infrastructure's, after all tries), `request_rejected`. Raises
        InfrastructureError, SandboxUnavailable among them.
        """
        spent = _Spent()

        async def one(solution: Solution) -> list[Rationale]:
            return [await self._verify(solution, spent)]

        written, drops = await process_items(
            solutions_of(rows, self._labelled), lambda solution: solution.path_id, one
        )
        return ShardResult(
            tuple(written),
            tuple(drops),
            {
                "tokens": spent.tokens,
                "code_runs": spent.code_runs,
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
        for _ in range(self._budget.sandbox_attempts - 1):
            try:
                return await self._write(solution, attempt, spent)
            except SandboxLost:
                continue
        try:
            return await self._write(solution, attempt, spent)
        except SandboxLost as lost:
            raise ItemError("sandbox_lost", str(lost)) from lost

    async def _write(self, solution: Solution, attempt: int, spent: _Spent) -> Rationale:
        draft = _Draft(self._form.chat(solution.problem, solution.steps))
        try:
            key = f"{solution.path_id}/{attempt}"
            async with Interpreter(self._sandbox, key) as interpreter:
                await self._draft(draft, interpreter, f"{solution.path_id}\x1f{attempt}")
            analyses, verifications = self._form.paragraphs(draft.text, len(solution.steps))
            votes = await self._votes(draft, solution, attempt)
        finally:
            spent.tokens += draft.tokens
            spent.code_runs += len(draft.executions)
        return Rationale(
            path_id=solution.path_id,
            problem_id=solution.problem_id,
            analyses=analyses,
            verifications=verifications,
            executions=draft.executions,
            votes=votes,
            text=draft.text,
            code_rounds=len(draft.executions),
            finish_reason="stop",
            model=self._model,
            seed=self._request_seed(f"{solution.path_id}\x1f{attempt}", "0"),
            tokens=draft.tokens,
        )

    async def _draft(self, draft: _Draft, interpreter: Interpreter, item: str) -> None:
        """Write until the model ends its thinking, with code run in between."""
        unread = ""  # what was written since the last code output
        while True:
            written = await self._call(draft, item)
            unread += written.text
            if written.stop_string is None or written.stop_string == self._form.thinking_stop:
                return
            code = self._form.code(unread) if self._budget.execute else None
            if code is not None:
                await self._execute(draft, interpreter, code)
                unread = ""

    async def _call(self, draft: _Draft, item: str) -> Completion:
        """Continue the text by one call. Raises ItemError('truncated') at a token limit."""
        room = self._budget.total_tokens - draft.size
        if room <= 0:
            raise ItemError("truncated", f"{draft.size} tokens in {draft.calls} calls")
        reply = await self._engine.generate(
            replace(draft.chat, prefill=draft.text),
            replace(
                self._sampling,
                n=1,
                max_tokens=min(self._sampling.max_tokens, room),
                stop=self._form.stops,
                include_stop=True,
                seed=self._request_seed(item, str(draft.calls)),
            ),
        )
        written = reply.completions[0]
        draft.extend(written, reply.prompt_tokens)
        if written.finish_reason != "stop":
            raise ItemError("truncated", f"{draft.size} tokens in {draft.calls} calls")
        return written

    async def _execute(self, draft: _Draft, interpreter: Interpreter, code: str) -> None:
        """Run a block and append its output to the text."""
        if len(draft.executions) >= self._budget.code_rounds:
            raise ItemError("too_many_code_rounds", f"{self._budget.code_rounds} blocks")
        execution = await interpreter.run(code, self._limits)
        output, block = self._form.code_output(execution, self._limits)
        draft.executions.append(
            CodeRun(
                step=self._form.step_of(draft.text),
                code=code,
                output=output,
                verdict=str(execution.verdict),
                wall_s=execution.wall_s,
                queued_s=execution.queued_s,
            )
        )
        draft.text += block

    async def _votes(self, draft: _Draft, solution: Solution, attempt: int) -> list[int | None]:
        """Ask for the index of the first wrong step, several times in one request."""
        reply = await self._engine.generate(
            replace(draft.chat, prefill=self._form.conclude(draft.text), thought_ends=True),
            replace(
                self._sampling,
                n=self._budget.votes,
                max_tokens=VOTE_TOKENS,
                stop=(self._form.vote_stop,),
                include_stop=False,
                seed=self._request_seed(f"{solution.path_id}\x1f{attempt}", "vote"),
            ),
        )
        draft.tokens += sum(vote.tokens for vote in reply.completions)
        return [self._form.vote(vote.text, len(solution.steps)) for vote in reply.completions]

    def _request_seed(self, item: str, call: str) -> int:
        return request_seed(self._seed, "rationalize", f"{item}\x1f{call}", 0)
