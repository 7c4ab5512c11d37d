"""A verification while it is written: one conversation, a turn per step, and what its texts are.

Invariant: a turn is asked for once and closed once; sizes count the assistant's text of one step,
code outputs included, as of the last call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from actors.engines.contract import Chat, Completion
from actors.sandbox.contract import Execution, Limits
from storage.rows.records import CodeRun, Message, Response, Verification
from workflows.writing.form import ToSettle


class VerifierForm(Protocol):
    """What the texts look like; every method is pure."""

    mode: str
    system: str
    executes: bool
    """Whether code is run, so that generation pauses behind each block."""
    analysis_stop: str
    verification_stop: str
    pauses: tuple[str, ...]
    """What may end a code block or begin an output."""
    verdict_opening: str
    """What stands before the verdict's token."""

    def question(self, problem: str, step: str, number: int) -> str:
        """The user's turn for step `number` (from 1)."""
        ...

    def analysis_opening(self, number: int) -> str | None:
        """How the analysis of step `number` (from 1) begins; None where the mode has none."""
        ...

    def analysis(self, opening: str, written: str) -> tuple[str, str]:
        """(content of the analysis, the whole closed part)."""
        ...

    def verification_opening(self) -> str | None:
        """How the verification begins; None where the mode has none."""
        ...

    def verification(self, opening: str, written: str) -> tuple[str, str]:
        """(content of the verification, the whole closed part)."""
        ...

    def found(self, written: str, ran: bool) -> ToSettle | None:
        """See `workflows.writing.form.RationaleForm`."""
        ...

    def unrun(self, written: str, runs: Sequence[CodeRun]) -> str | None:
        """What is shown that was not run; None where all was."""
        ...

    def code_block(self, code: str) -> str:
        """How a block that was run is shown."""
        ...

    def code_output(self, execution: Execution, limits: Limits) -> tuple[str, str]:
        """(what is fed back, the whole block that is appended to the text)."""
        ...

    def verdict(self, written: Completion) -> tuple[bool, float, str]:
        """(whether the step was called right, its reward, the rest of the turn), from one token.

        Raises ItemError `no_verdict`.
        """
        ...


class History:
    """One verification of a response while it is written."""

    def __init__(self, response: Response, number: int, system: str) -> None:
        self.response = response
        self.number = number
        self.turns: list[Message] = [Message("system", system)]
        self.text = ""
        """The assistant's turn so far."""
        self.rewards: list[float] = []
        self.verdicts: list[bool] = []
        self.analyses: list[str] = []
        self.verifications: list[str] = []
        self.executions: list[CodeRun] = []
        self.degraded: list[bool] = []
        self.tokens = 0
        self.calls = 0
        self._prompt: int | None = None
        self._size = 0

    @property
    def item(self) -> str:
        """What seeds are derived from."""
        return f"{self.response.response_id}\x1f{self.number}"

    def ask(self, question: str) -> None:
        """Open the turn of the next step."""
        self.turns.append(Message("user", question))
        self.text, self._prompt, self._size = "", None, 0

    def chat(self) -> Chat:
        """What the model is asked to continue."""
        return Chat(tuple(self.turns), self.text)

    def room(self, step_tokens: int) -> int:
        """Tokens that the step may still have, as of the last call."""
        return step_tokens - self._size

    def note(self, written: Completion, prompt_tokens: int) -> None:
        """Count what one call cost."""
        self._prompt = prompt_tokens if self._prompt is None else self._prompt
        self._size = prompt_tokens - self._prompt + written.tokens
        self.tokens += written.tokens
        self.calls += 1

    def close(self) -> None:
        """The turn is finished and becomes part of the conversation."""
        self.turns.append(Message("assistant", self.text))

    def row(self, mode: str, model: str, seed: int) -> Verification:
        """The finished history."""
        return Verification(
            response_id=self.response.response_id,
            history=self.number,
            mode=mode,
            rewards=self.rewards,
            analyses=self.analyses,
            verifications=self.verifications,
            executions=self.executions,
            degraded=self.degraded,
            tokens=self.tokens,
            model=model,
            seed=seed,
            verdicts=self.verdicts,
        )
