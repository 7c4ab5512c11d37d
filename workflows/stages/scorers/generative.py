"""A generative verifier: a model that writes about each step, runs code, and says Yes or No.

Each step is a turn of one conversation. The model analyzes, writes Python, reads what it printed,
and is then asked for one token, its verdict.

Invariant: a reward is read at the verdict's position, which is forced: no earlier text counts. A
verification that shows an unrun block or output is left out. A step costs at most `rounds` rounds
and `max_tokens` tokens; then it is judged from its analysis alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from itertools import count

from actors.engines.contract import Chat, Completion, Engine, Refusal, Sampling
from actors.engines.healing import Spell
from actors.sandbox.contract import Limits, Sandbox, Verdict
from actors.sandbox.session import Interpreter
from storage.errors import ItemError
from storage.rows.records import Message, Verification
from workflows.formats.fences import unix
from workflows.formats.verification import TrainingForm, VerifySettings, check_verdicts
from workflows.stages.scorers.contract import Judging
from workflows.stages.writing.code_loop import Page, execute, write_and_run

ENDS_INTERPRETER = frozenset(
    {Verdict.TIMEOUT, Verdict.CPU_TIME, Verdict.MEMORY, Verdict.OUTPUT, Verdict.KILLED}
)
"""Verdicts behind which the next block begins with an empty interpreter."""


class _OutOfRoom(Exception):
    """The step has used up its rounds, its tokens or the model's context."""


class GenerativeScorer:
    """Makes histories of one model, in one mode."""

    def __init__(
        self,
        engine: Engine,
        sandbox: Sandbox | None,
        settings: VerifySettings,
        *,
        seed_of: Callable[[str], int],
        model: str,
        limits: Limits,
        spell: Spell | None = None,
    ) -> None:
        """`seed_of`: name of a request -> its seed; `model`: the identity that rows name.

        `spell`: the model's tokenizer, if the engine has one. Raises InputError for one without
        single tokens for its verdicts.
        """
        if spell is not None:
            check_verdicts(spell, model)
        self.engine, self.settings, self.seed_of = engine, settings, seed_of
        self.model, self.limits = model, limits
        self.form = TrainingForm(settings.mode, settings.output_chars, spell)
        self.sandbox = sandbox if self.form.executes else None
        self._forks = count(1)

    def begin(self, problem: str, name: str, history: int = 0) -> GenerativeJudging:
        """Start history `history` of a solution."""
        return GenerativeJudging(self, problem, name, history)

    def interpreter(self, judging: GenerativeJudging, forked: bool = False) -> Interpreter | None:
        """Where a history's code runs; None in modes that run none."""
        if self.sandbox is None:
            return None
        key = f"{judging.name}/{judging.number}"
        return Interpreter(self.sandbox, f"{key}/fork-{next(self._forks)}" if forked else key)


class GenerativeJudging(Page, Judging):
    """One conversation with the model, a turn per step; `text` is the turn of the last step.

    `size` counts the tokens of the assistant's turn after the last call, with code outputs.
    """

    def __init__(self, scorer: GenerativeScorer, problem: str, name: str, number: int) -> None:
        super().__init__()
        self._scorer = scorer
        self.problem = problem
        self.name = name
        self.number = number
        self.turns: list[Message] = [Message("system", scorer.form.system)]
        self.rewards: list[float] = []
        self.verdicts: list[bool] = []
        self.analyses: list[str] = []
        self.verifications: list[str] = []
        self.degraded: list[bool] = []
        self._interpreter = scorer.interpreter(self)
        self._missed: tuple[str, ...] = ()
        """Blocks that the interpreter of a fork has not seen yet."""

    async def judge(self, *steps: str) -> list[float]:
        """See `Judging.judge`."""
        form = self._scorer.form
        for step in steps:
            number = len(self.rewards) + 1
            self.turns.append(Message("user", form.question(self.problem, step, number)))
            self.text, self._prompt, self.size = "", None, 0
            await self._judge(number)
            self.turns.append(Message("assistant", self.text))
        return self.rewards[len(self.rewards) - len(steps) :]

    def fork(self) -> GenerativeJudging:
        """See `Judging.fork`. Blocks that were run are run again before the first new one."""
        other = copy(self)
        for held in ("turns", "rewards", "verdicts", "analyses", "verifications", "degraded",
                     "executions", "backends"):  # fmt: skip
            setattr(other, held, copy(getattr(self, held)))
        ends = (at for at, run in enumerate(self.executions, 1) if run.verdict in ENDS_INTERPRETER)
        since = max(ends, default=0)
        other._missed = tuple(run.code for run in self.executions[since:])
        other._interpreter = self._scorer.interpreter(self, forked=True)
        return other

    def row(self) -> Verification:
        """See `Judging.row`."""
        scorer = self._scorer
        return Verification(
            response_id=self.name,
            history=self.number,
            mode=scorer.form.mode,
            rewards=self.rewards,
            analyses=self.analyses,
            verifications=self.verifications,
            executions=self.executions,
            degraded=self.degraded,
            tokens=self.tokens,
            model=scorer.model,
            seed=scorer.seed_of(self._request(0)),
            verdicts=self.verdicts,
            backends=sorted(self.backends) or None,
        )

    async def close(self) -> None:
        """See `Judging.close`."""
        if self._interpreter is not None:
            await self._interpreter.close()

    def _request(self, call: int) -> str:
        """The name of a request, that its seed is derived from."""
        return f"{self.name}\x1f{self.number}\x1f{call}"

    async def _judge(self, number: int) -> None:
        """Write one step's turn, from its analysis to its verdict."""
        form = self._scorer.form
        degraded = not await self._analyze(number)
        before = self.text
        opening = form.verification_opening()
        verified = ""
        if opening is not None and not degraded:
            verified, degraded = await self._verified(opening)
            if degraded:
                self.text = before
        self.verifications.append(verified)
        self.degraded.append(degraded)
        self.text += form.verdict_opening
        written = await self._call(1, (), logprobs=self._scorer.settings.logprobs)
        called_right, reward, rest = form.verdict(written)
        self.verdicts.append(called_right)
        self.rewards.append(reward)
        self.text += rest

    async def _analyze(self, number: int) -> bool:
        """Write the analysis; False where it was cut."""
        form = self._scorer.form
        opening = form.analysis_opening(number)
        if opening is None:
            self.analyses.append("")
            return True
        self.text += opening
        written = await self._call(self._scorer.settings.max_tokens, (form.analysis_stop,))
        content, part = form.analysis(opening, written.text)
        self.analyses.append(content)
        self.text = self.text.removesuffix(opening) + part
        return written.finish_reason == "stop"

    async def _verified(self, opening: str) -> tuple[str, bool]:
        """Write the verification; return (its content, whether it is left out)."""
        form, start = self._scorer.form, len(self.text)
        self.text += opening
        try:
            await self._rounds()
        except _OutOfRoom:
            return form.verification(opening, self.text[start + len(opening) :])[0], True
        content, part = form.verification(opening, self.text[start + len(opening) :])
        if self._interpreter is not None:
            runs = [run for run in self.executions if run.step == len(self.rewards)]
            if form.unrun(part, runs) is not None:
                return content, True
        self.text = self.text[:start] + part
        return content, False

    async def _rounds(self) -> None:
        """Write until the verification is closed; run its code in between."""
        settings, form, rounds = self._scorer.settings, self._scorer.form, 0
        pauses = form.pauses if self._interpreter is not None else ()
        self.settled, self.ran = len(self.text), False

        async def go_on() -> bool:
            nonlocal rounds
            room = settings.max_tokens - self.size
            if rounds == settings.rounds or room <= 0:
                raise _OutOfRoom
            rounds += 1
            try:
                written = await self._call(room, (form.verification_stop, *pauses))
            except ItemError as error:
                if error.reason != Refusal.TOO_LONG:
                    raise
                raise _OutOfRoom from error
            self.text += unix(written.text)
            if written.finish_reason != "stop":
                raise _OutOfRoom
            paused = written.stop_string in pauses
            self.text += (written.stop_string or "") if paused else ""
            return not paused

        async def run(interpreter: Interpreter, code: str) -> None:
            if rounds == settings.rounds:
                raise _OutOfRoom
            missed, self._missed = self._missed, ()
            for earlier in missed:
                await interpreter.run(earlier, self._scorer.limits)
            step = len(self.rewards)
            await execute(self, form, interpreter, step, code, self._scorer.limits)

        runs = partial(run, self._interpreter) if self._interpreter is not None else None
        await write_and_run(self, form, go_on, runs)

    async def _call(self, max_tokens: int, stops: Sequence[str], logprobs: int = 0) -> Completion:
        settings = self._scorer.settings
        sampling = Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            n=1,
            max_tokens=max_tokens,
            stop=tuple(stops),
            include_stop=False,
            seed=self._scorer.seed_of(self._request(self.calls)),
            logprobs=logprobs,
        )
        chat = Chat(tuple(self.turns), self.text)
        reply = await self._scorer.engine.generate(chat, sampling)
        written = reply.completions[0]
        self.note(written, reply.prompt_tokens)
        return written
