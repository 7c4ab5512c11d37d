"""Stage `score`: every step of a response judged by the verifier, with code that was really run.

Each step is a turn of one conversation. The model analyzes, writes Python, reads what it printed,
and is then asked for one token, its verdict. The N histories of a response are independent.

Invariant: a reward is read at the verdict's position, which is forced: no earlier text counts. A
verification that shows an unrun block or output is left out. A step costs at most `rounds` rounds
and `max_tokens` tokens; then it is judged from its analysis alone. When the sandbox itself fails,
the history is repeated from its start with the same seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from actors.engines.admission import together
from actors.engines.contract import Completion, Refusal, Sampling
from actors.engines.served.capabilities import Need
from actors.sandbox.contract import Rejected
from actors.sandbox.session import Interpreter, retried_item
from actors.workers.contract import ShardResult, process_items
from actors.workers.yields import Text, note_reply
from storage.errors import ItemError
from storage.rows.kinds import RESPONSES, VERIFICATIONS, ShardRows
from storage.rows.records import Response, Verification
from workflows.formats.fences import unix
from workflows.formats.verification import TrainingForm, VerifySettings, check_verdicts
from workflows.stages.code_loop import execute, write_and_run
from workflows.stages.kit import TEMPLATE, Kit, KitStage, Stage
from workflows.stages.score_history import History
from workflows.votes.rewards import Unscored


@dataclass(slots=True)
class _Spent:
    """The cost of a shard, with that of failed tries."""

    tokens: int = 0
    code_runs: int = 0
    steps: int = 0
    degraded: int = 0
    lost_histories: int = 0


class _OutOfRoom(Exception):
    """The step has used up its rounds, its tokens or the model's context."""


class Verifier(KitStage[VerifySettings]):
    """Judges responses step by step."""

    def __init__(self, kit: Kit[VerifySettings]) -> None:
        """Raises InputError for a model whose tokenizer has no single tokens for its verdicts."""
        super().__init__(kit)
        self._asked, spell = kit.settings, kit.spell
        if spell is not None:
            check_verdicts(spell, kit.model)
        self._form = TrainingForm(self._asked.mode, self._asked.output_chars, spell)
        self._sandbox = kit.sandbox if self._form.executes else None

    async def run(self, rows: ShardRows) -> ShardResult[Verification]:
        """Verify the responses of a shard: `histories` rows for each, in their order.

        A history can end without rewards: `too_long` (the conversation fills the context),
        `no_verdict`, `sandbox_lost` (after all tries), `request_rejected`. A response is dropped,
        with the first reason, if all its histories do. Else `lost_histories` counts those that did.
        Raises InfrastructureError.
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

    async def _verify(self, response: Response, spent: _Spent) -> list[Verification]:
        histories = await together(
            *(self._settled(response, number, spent) for number in range(self._asked.histories))
        )
        rows = [history for history in histories if isinstance(history, Verification)]
        lost = [history for history in histories if isinstance(history, ItemError)]
        if not rows:
            raise lost[0]
        spent.lost_histories += len(lost)
        return rows

    async def _settled(
        self, response: Response, number: int, spent: _Spent
    ) -> Verification | ItemError:
        """One history, or the error that ended it: the response's other histories go on."""
        try:
            return await retried_item(partial(self._history, response, number, spent))
        except ItemError as error:
            return error

    async def _history(self, response: Response, number: int, spent: _Spent) -> Verification:
        history = History(response, number, self._form.system)
        try:
            if self._sandbox is None:
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
        seed = self.kit.seed_of(f"{history.item}\x1f0")
        return history.row(self._form.mode, self.kit.model, seed)

    async def _judge_all(self, history: History, interpreter: Interpreter | None) -> None:
        for number, step in enumerate(history.response.steps, start=1):
            history.ask(self._form.question(history.response.problem, step, number))
            await self._judge(history, number, interpreter)
            history.close()

    async def _judge(self, history: History, number: int, interpreter: Interpreter | None) -> None:
        """Write one step's turn, from its analysis to its verdict."""
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
        written = await self._call(history, 1, (), logprobs=self._asked.logprobs)
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
        written = await self._call(history, self._asked.max_tokens, (self._form.analysis_stop,))
        content, part = self._form.analysis(opening, written.text)
        history.analyses.append(content)
        history.text = history.text.removesuffix(opening) + part
        return written.finish_reason == "stop"

    async def _verified(
        self, history: History, opening: str, interpreter: Interpreter | None
    ) -> tuple[str, bool]:
        """Write the verification; return (its content, whether it is left out)."""
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
        """Write until the verification is closed; run its code in between."""
        settings, rounds = self._asked, 0
        pauses = self._form.pauses if interpreter is not None else ()
        history.settled, history.ran = len(history.text), False

        async def go_on() -> bool:
            nonlocal rounds
            room = history.room(settings.max_tokens)
            if rounds == settings.rounds or room <= 0:
                raise _OutOfRoom
            rounds += 1
            try:
                written = await self._call(history, room, (self._form.verification_stop, *pauses))
            except ItemError as error:
                if error.reason != Refusal.TOO_LONG:
                    raise
                raise _OutOfRoom from error
            history.text += unix(written.text)
            if written.finish_reason != "stop":
                raise _OutOfRoom
            paused = written.stop_string in pauses
            history.text += (written.stop_string or "") if paused else ""
            return not paused

        async def run(interpreter: Interpreter, code: str) -> None:
            if rounds == settings.rounds:
                raise _OutOfRoom
            step = len(history.rewards)
            await execute(history, self._form, interpreter, step, code, self.kit.limits)

        runs = partial(run, interpreter) if interpreter is not None else None
        await write_and_run(history, self._form, go_on, runs)

    async def _call(
        self, history: History, max_tokens: int, stops: Sequence[str], logprobs: int = 0
    ) -> Completion:
        settings = self._asked
        sampling = Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            n=1,
            max_tokens=max_tokens,
            stop=tuple(stops),
            include_stop=False,
            seed=self.kit.seed_of(f"{history.item}\x1f{history.calls}"),
            logprobs=logprobs,
        )
        reply = await self.kit.engine.generate(history.chat(), sampling)
        written = reply.completions[0]
        history.note(written, reply.prompt_tokens)
        return written


SCORE = Stage(
    rows=VERIFICATIONS,
    role="verifier",
    reads=(RESPONSES,),
    runs_code=True,
    needs=(Need.CONTINUES, Need.LOGPROBS),
    remedy=f"the verifier does not answer as one does: {TEMPLATE}, and `verify.mode` with what it "
    "was trained for",
    longest="models.verifier.max_model_len",
    says="lets the verifier judge every step of a response, with code that is run",
    drops=(*Unscored, *Refusal, *Rejected),
    make=Verifier,
)
