"""A history of stage `score` while it is written: one conversation, with a turn per step.

Invariant: each turn is opened once and closed once. `size` counts the tokens of the assistant's
turn after the last call, with code outputs.
"""

from __future__ import annotations

from actors.engines.contract import Chat
from storage.rows.records import Message, Response, Verification
from workflows.stages.code_loop import Page


class History(Page):
    """One verification of a response while it is written; its text is the turn of one step."""

    def __init__(self, response: Response, number: int, system: str) -> None:
        super().__init__()
        self.response = response
        self.number = number
        self.turns: list[Message] = [Message("system", system)]
        self.rewards: list[float] = []
        self.verdicts: list[bool] = []
        self.analyses: list[str] = []
        self.verifications: list[str] = []
        self.degraded: list[bool] = []

    @property
    def item(self) -> str:
        """The name that its seeds are derived from."""
        return f"{self.response.response_id}\x1f{self.number}"

    def ask(self, question: str) -> None:
        """Open the turn of the next step."""
        self.turns.append(Message("user", question))
        self.text, self._prompt, self.size = "", None, 0

    def chat(self) -> Chat:
        """The conversation that the model is asked to continue."""
        return Chat(tuple(self.turns), self.text)

    def room(self, step_tokens: int) -> int:
        """Tokens that are left to the step after the last call."""
        return step_tokens - self.size

    def close(self) -> None:
        """Finish the turn, and append it to the conversation."""
        self.turns.append(Message("assistant", self.text))

    def row(self, mode: str, model: str, seed: int) -> Verification:
        """The row of the finished history."""
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
            backends=sorted(self.backends) or None,
        )
