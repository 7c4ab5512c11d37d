"""A rationale while it is written: its text, what was run for it, and what it cost.

Invariant: `executions` are those of the blocks in the text, in its order; `seen` is all that the
interpreter was given.
"""

from __future__ import annotations

from actors.engines.contract import Chat, Completion
from storage.errors import ItemError
from storage.rows.records import CodeRun
from workflows.writing.form import with_newlines


class Draft:
    """A rationale while it is written."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.text = chat.prefill
        self.executions: list[CodeRun] = []
        """Of the blocks in the text, in the order in which they were run."""
        self.settled = 0
        """Where the last block that was run begins; up to there nothing is to be settled."""
        self.seen: list[str] = []
        """All code that the interpreter has seen, also of paragraphs that were given up."""
        self.replayed = 0
        """Blocks that were run again."""
        self.cuts = 0
        """How often something that can't stay was cut off."""
        self.resumes = 0
        self.forgiven = False
        """Whether what the model wrote differs from what is kept of it: it was spelt otherwise, cut
        off or taken up again."""
        self.trouble: tuple[ItemError, str] | None = None
        """What was first wrong with the form, and the text that had it."""
        self.tokens = 0
        """Generated."""
        self.size = 0
        """Tokens of the assistant's turn, code outputs included, as of the last call."""
        self.calls = 0
        self._prompt: int | None = None

    @property
    def cut_back(self) -> str:
        """Why something was cut off, in words."""
        return (
            f"the text was cut back ({self.cuts}): it showed an output that no code printed, or "
            "the code block did not end where it seemed to"
        )

    def extend(self, written: Completion, prompt_tokens: int) -> None:
        """Append what one call wrote."""
        self._prompt = prompt_tokens if self._prompt is None else self._prompt
        self.forgiven |= "\r" in written.text
        self.text = with_newlines(written.after(self.text))
        self.tokens += written.tokens
        self.size = prompt_tokens - self._prompt + written.tokens
        self.calls += 1

    def settle(self, text: str) -> None:
        """Put `text` in the place of what was written: its end is a block, or was cut off."""
        self.forgiven |= not self.text.startswith(text)
        self.text = text

    def take_up(self, text: str, executions: list[CodeRun], settled: int) -> None:
        """Go back to a part of the text, with its executions, to go on from there."""
        self.text, self.executions, self.settled = text, executions, settled
        self.resumes += 1
        self.forgiven = True
