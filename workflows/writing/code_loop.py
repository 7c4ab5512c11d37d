"""The model writes, pauses behind a block of code, reads what it printed, and goes on.

Invariant: an output in a draft is what its block printed; a block or an output that was not run is
cut off, or ends the draft.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from actors.engines.contract import Completion, Engine, Sampling
from actors.sandbox.contract import Limits, Sandbox
from actors.sandbox.session import Interpreter
from storage.errors import ItemError
from storage.rows.kinds import RATIONALES
from storage.rows.records import CodeRun
from storage.seeds import request_seed
from workflows.formats.rationale import Unreadable
from workflows.writing.draft import Draft
from workflows.writing.form import RationaleForm

CUTS = 3
"""How often what can't stay is cut off before a rationale is dropped."""


class Unwritten(StrEnum):
    """Why a rationale is not finished; closed."""

    TRUNCATED = "truncated"
    """It reaches the limit of tokens (`stages.rationalize.total_tokens`)."""
    TOO_MANY_CODE_ROUNDS = "too_many_code_rounds"
    """It has more code blocks than may be run (`stages.rationalize.code_rounds`)."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one rationale may cost."""

    total_tokens: int = 16384
    """Generated tokens and code outputs together."""
    code_rounds: int = 64
    """Executed blocks."""
    execute: bool = True
    votes: int = 4
    heard: bool = True
    """Whether the votes decide about the path: one without any is then of no use."""
    attempts: int = 2
    """Tries, each with its own seeds, before an unreadable rationale is dropped."""
    sandbox_attempts: int = 3
    """Tries of one solution, with unchanged seeds, when its sandbox is lost."""


def seed_of(seed: int, item: str, call: str) -> int:
    """The seed of one call of a rationale."""
    return request_seed(seed, RATIONALES.stage, f"{item}\x1f{call}", 0)


class CodeLoop:
    """Writes drafts, with their code run in between."""

    def __init__(
        self,
        engine: Engine,
        sandbox: Sandbox,
        form: RationaleForm,
        sampling: Sampling,
        budget: Budget,
        limits: Limits,
        seed: int,
    ) -> None:
        self._engine = engine
        self._sandbox = sandbox
        self._form = form
        self._sampling = sampling
        self._budget = budget
        self._stops = (*form.stops, form.output_stop) if budget.execute else form.stops
        self._limits = limits
        self._seed = seed

    async def write(self, draft: Draft, interpreter: Interpreter, item: str) -> None:
        """Write until the model ends its thinking, with code run in between."""
        while True:
            written = await self._call(draft, item)
            over = written.finish_reason == "stop" and written.stop_string in (
                None, self._form.thinking_stop
            )  # fmt: skip
            found = None
            if self._budget.execute:
                found = self._form.found(draft.text[draft.settled :], bool(draft.executions))
            if found is None:
                if over:
                    return
                continue
            draft.settle(draft.text[: draft.settled] + found.text)
            if found.code is not None:
                await self._execute(draft, interpreter, found.code)
                continue
            draft.cuts += 1
            draft.forgiven = True
            if draft.cuts > CUTS:
                raise ItemError(Unreadable.NOT_EXECUTED, draft.cut_back)

    async def as_shown(
        self,
        shown: Sequence[tuple[int, str, str]],
        draft: Draft,
        key: str,
    ) -> list[CodeRun]:
        """The executions of the blocks that are shown, in the order in which they are shown.

        Where that is not what the interpreter saw, they are run again, in a fresh one. Raises
        ItemError `not_executed` where one then prints something else than what is shown.
        """
        if [code for _, code, _ in shown] == draft.seen:
            pairs = zip(draft.executions, shown, strict=True)
            return [replace(run, step=step) for run, (step, _, _) in pairs]
        again: list[CodeRun] = []
        try:
            async with Interpreter(self._sandbox, f"{key}/replay") as interpreter:
                for step, code, output in shown:
                    run, _ = await self._run(interpreter, step, code)
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

    async def _call(self, draft: Draft, item: str) -> Completion:
        """Continue the text by one call; one that is cut at its limit is continued by the next.

        Raises ItemError('truncated') at the limit of all.
        """
        room = self._budget.total_tokens - draft.size
        if room <= 0:
            raise ItemError(Unwritten.TRUNCATED, f"{draft.size} tokens in {draft.calls} calls")
        reply = await self._engine.generate(
            replace(draft.chat, prefill=draft.text),
            replace(
                self._sampling,
                n=1,
                max_tokens=min(self._sampling.max_tokens, room),
                stop=self._stops,
                include_stop=True,
                seed=seed_of(self._seed, item, str(draft.calls)),
            ),
        )
        written = reply.completions[0]
        draft.extend(written, reply.prompt_tokens)
        return written

    async def _execute(self, draft: Draft, interpreter: Interpreter, code: str) -> None:
        """Run the block that the text ends with and append its output."""
        if len(draft.seen) >= self._budget.code_rounds:
            raise ItemError(Unwritten.TOO_MANY_CODE_ROUNDS, f"{self._budget.code_rounds} blocks")
        run, block = await self._run(interpreter, self._form.step_of(draft.text), code)
        draft.executions.append(run)
        draft.seen.append(code)
        draft.settled = draft.text.rindex(self._form.code_block(code))
        draft.text += block

    async def _run(self, interpreter: Interpreter, step: int, code: str) -> tuple[CodeRun, str]:
        """(what happened, the block that shows the output)."""
        execution = await interpreter.run(code, self._limits)
        output, block = self._form.code_output(execution, self._limits)
        run = CodeRun(
            step=step,
            code=code,
            output=output,
            verdict=str(execution.verdict),
            wall_s=execution.wall_s,
            queued_s=execution.queued_s,
        )
        return run, block
