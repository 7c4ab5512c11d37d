"""Stage `score`: every step of a response judged by the verifier, with code that was really run.

A turn per step in one conversation: the model analyzes, writes Python, reads what it printed, and
is then asked for one token, its verdict. N histories of a response know nothing of each other.

Invariant: a reward is read at the verdict's own position, which is forced, so that nothing the
model wrote before can be taken for it; a verification that shows a block or an output that was not
run is left out; a step costs at most `rounds` rounds and `step_tokens`
tokens, then it is judged from its analysis alone; the sandbox's own trouble repeats the history
from its start, with the same seeds, and never becomes a code output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from actors.engines.admission import together
from actors.engines.contract import Completion, Engine, Refusal, Sampling
from actors.engines.served.capabilities import Need
from actors.sandbox.contract import Limits, Rejected, Sandbox
from actors.sandbox.session import Interpreter, retried_item
from actors.workers.contract import ShardResult, process_items
from actors.workers.yields import Text, note_reply
from storage.errors import ItemError
from storage.rows.kinds import RESPONSES, VERIFICATIONS, ShardRows
from storage.rows.records import CodeRun, Response, Verification
from storage.seeds import request_seed
from workflows.formats.verification import TrainingForm, VerifySettings, check_verdicts
from workflows.stages.kit import Kit, Stage
from workflows.stages.score_history import History, VerifierForm
from workflows.votes.rewards import Unscored
from workflows.writing.form import with_newlines


@dataclass(frozen=True, slots=True)
class Effort:
    """What one response may cost."""

    histories: int = 1
    rounds: int = 3
    """Generation rounds of one step's verification."""
    step_tokens: int = 2048
    """Tokens of one step's turn, code outputs included."""
    logprobs: int = 20
    sandbox_attempts: int = 3
    """Tries of one history, with unchanged seeds, when its sandbox is lost."""


@dataclass(slots=True)
class _Spent:
    """What a shard cost, tries that came to nothing included."""

    tokens: int = 0
    code_runs: int = 0
    steps: int = 0
    degraded: int = 0
    lost_histories: int = 0


class _OutOfRoom(Exception):
    """The step has used up its rounds, its tokens or the model's context."""


class Verifier:
    """Judges responses step by step."""

    def __init__(
        self,
        engine: Engine,
        sandbox: Sandbox | None,
        *,
        form: VerifierForm,
        sampling: Sampling,
        effort: Effort,
        limits: Limits,
        model: str,
        seed: int,
    ) -> None:
        """`sampling` gives temperature, top_p and top_k; a form that executes needs a sandbox."""
        if sandbox is None and form.executes:
            raise ValueError("code can't be run without a sandbox")
        self._engine = engine
        self._sandbox = sandbox
        self._form = form
        self._sampling = sampling
        self._effort = effort
        self._limits = limits
        self._model = model
        self._seed = seed

    async def run(self, rows: ShardRows) -> ShardResult[Verification]:
        """Verify the responses of a shard: `histories` rows for each, in their order.

        A history can end without rewards: `too_long` (the conversation fills the context),
        `no_verdict`, `sandbox_lost` (the infrastructure's, after all tries), `request_rejected`.
        A response is dropped, with the first reason, where all its histories do; else it has the
        rows of the others, and `lost_histories` counts. Raises InfrastructureError.
        """
        spent = _Spent()

        async def one(response: Response) -> list[Verification]:
            return await self._verify(response, spent)

        written, drops = await process_items(
            rows[RESPONSES], lambda response: response.response_id, one
        )
        return ShardResult(
            tuple(written),
            tuple(drops),
            {
                "tokens": spent.tokens,
                "code_runs": spent.code_runs,
                "steps": spent.steps,
                "degraded": spent.degraded,
                "lost_histories": spent.lost_histories,
            },
        )

    async def close(self) -> None:
        """Stop the engine and the sandbox."""
        try:
            await self._engine.close()
        finally:
            if self._sandbox is not None:
                await self._sandbox.close()

    async def _verify(self, response: Response, spent: _Spent) -> list[Verification]:
        found = await together(
            *(self._settled(response, number, spent) for number in range(self._effort.histories))
        )
        rows = [one for one in found if isinstance(one, Verification)]
        lost = [one for one in found if isinstance(one, ItemError)]
        if not rows:
            raise lost[0]
        spent.lost_histories += len(lost)
        return rows

    async def _settled(
        self, response: Response, number: int, spent: _Spent
    ) -> Verification | ItemError:
        """One history, or why there is none: others of the same response may still come through."""
        try:
            return await retried_item(
                partial(self._history, response, number, spent), self._effort.sandbox_attempts
            )
        except ItemError as error:
            return error

    async def _history(self, response: Response, number: int, spent: _Spent) -> Verification:
        history = History(response, number, self._form.system)
        try:
            if self._sandbox is None or not self._form.executes:
                await self._judge_all(history, None)
            else:
                key = f"{response.response_id}/{number}"
                async with Interpreter(self._sandbox, key) as interpreter:
                    await self._judge_all(history, interpreter)
        except ItemError as error:
            if history.calls:
                note_reply([Text(response.response_id, history.text, error.reason)])
            raise
        finally:
            spent.tokens += history.tokens
            spent.code_runs += len(history.executions)
            spent.steps += len(history.rewards)
            spent.degraded += sum(history.degraded)
        note_reply([Text(response.response_id, history.text, None)])
        seed = request_seed(self._seed, VERIFICATIONS.stage, f"{history.item}\x1f0", 0)
        return history.row(self._form.mode, self._model, seed)

    async def _judge_all(self, history: History, interpreter: Interpreter | None) -> None:
        for number, step in enumerate(history.response.steps, start=1):
            history.ask(self._form.question(history.response.problem, step, number))
            await self._judge(history, number, interpreter)
            history.close()

    async def _judge(self, history: History, number: int, interpreter: Interpreter | None) -> None:
        """One step's turn, from its analysis to its verdict."""
        degraded = not await self._analyze(history, number)
        before = history.text
        opening = self._form.verification_opening()
        verified = ""
        if opening is not None and not degraded:
            verified, degraded = await self._verified(history, opening, interpreter)
            if degraded:
                history.text = before
        history.verifications.append(verified)
        history.degraded.append(degraded)
        history.text += self._form.verdict_opening
        written = await self._call(history, 1, (), logprobs=self._effort.logprobs)
        called_right, reward, rest = self._form.verdict(written)
        history.verdicts.append(called_right)
        history.rewards.append(reward)
        history.text += rest

    async def _analyze(self, history: History, number: int) -> bool:
        """Write the analysis; False where it was cut."""
        opening = self._form.analysis_opening(number)
        if opening is None:
            history.analyses.append("")
            return True
        history.text += opening
        written = await self._call(history, self._effort.step_tokens, (self._form.analysis_stop,))
        content, part = self._form.analysis(opening, written.text)
        history.analyses.append(content)
        history.text = history.text.removesuffix(opening) + part
        return written.finish_reason == "stop"

    async def _verified(
        self, history: History, opening: str, interpreter: Interpreter | None
    ) -> tuple[str, bool]:
        """(content of the verification, whether it came to nothing)."""
        start = len(history.text)
        history.text += opening
        try:
            await self._rounds(history, interpreter)
        except _OutOfRoom:
            return self._form.verification(opening, history.text[start + len(opening) :])[0], True
        content, part = self._form.verification(opening, history.text[start + len(opening) :])
        if interpreter is not None:
            runs = [run for run in history.executions if run.step == len(history.rewards)]
            if self._form.unrun(part, runs) is not None:
                return content, True
        history.text = history.text[:start] + part
        return content, False

    async def _rounds(self, history: History, interpreter: Interpreter | None) -> None:
        """Write until the verification is closed, with code run in between."""
        pauses = self._form.pauses if interpreter is not None else ()
        settled, ran = len(history.text), False  # where the last block that was run begins
        for last in (False,) * (self._effort.rounds - 1) + (True,):
            room = history.room(self._effort.step_tokens)
            if room <= 0:
                raise _OutOfRoom
            try:
                written = await self._call(history, room, (self._form.verification_stop, *pauses))
            except ItemError as error:
                if error.reason != Refusal.TOO_LONG:
                    raise
                raise _OutOfRoom from error
            history.text += with_newlines(written.text)
            if written.finish_reason != "stop":
                raise _OutOfRoom
            if interpreter is None:
                return
            paused = written.stop_string in pauses
            history.text += (written.stop_string or "") if paused else ""
            found = self._form.found(history.text[settled:], ran)
            if found is None:
                if not paused:
                    return
                continue
            history.text = history.text[:settled] + found.text
            if found.code is not None and not last:
                settled, ran = history.text.rindex(self._form.code_block(found.code)), True
                await self._execute(history, interpreter, found.code)
        raise _OutOfRoom

    async def _execute(self, history: History, interpreter: Interpreter, code: str) -> None:
        """Run a block and append its output to the text."""
        execution = await interpreter.run(code, self._limits)
        output, block = self._form.code_output(execution, self._limits)
        history.executions.append(
            CodeRun(
                step=len(history.rewards),
                code=code,
                output=output,
                verdict=str(execution.verdict),
                wall_s=execution.wall_s,
                queued_s=execution.queued_s,
            )
        )
        history.text += block

    async def _call(
        self, history: History, max_tokens: int, stops: Sequence[str], logprobs: int = 0
    ) -> Completion:
        reply = await self._engine.generate(
            history.chat(),
            replace(
                self._sampling,
                n=1,
                max_tokens=max_tokens,
                stop=tuple(stops),
                include_stop=False,
                seed=request_seed(
                    self._seed, VERIFICATIONS.stage, f"{history.item}\x1f{history.calls}", 0
                ),
                logprobs=logprobs,
            ),
        )
        written = reply.completions[0]
        history.note(written, reply.prompt_tokens)
        return written


def _verifier(kit: Kit[VerifySettings]) -> Verifier:
    wanted, spell = kit.settings, kit.spell
    if spell is not None:
        check_verdicts(spell, kit.model)
    return Verifier(
        kit.engine,
        kit.box,
        form=TrainingForm(wanted.mode, wanted.output_chars, spell),
        sampling=Sampling(temperature=wanted.temperature, top_p=wanted.top_p, top_k=wanted.top_k),
        effort=Effort(
            histories=wanted.histories,
            rounds=wanted.rounds,
            step_tokens=wanted.max_tokens,
            logprobs=wanted.logprobs,
        ),
        limits=kit.limits,
        model=kit.model,
        seed=kit.seed,
    )


SCORE = Stage(
    rows=VERIFICATIONS,
    role="verifier",
    reads=(RESPONSES,),
    runs_code=True,
    needs=(Need.CONTINUES, Need.LOGPROBS),
    says="lets the verifier judge every step of a response, with code that is run",
    drops=(*Unscored, *Refusal, *Rejected),
    make=_verifier,
)
