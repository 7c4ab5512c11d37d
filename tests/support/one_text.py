"""A model that has one text in its head, for tests of those who stop it and cut what it wrote.

It goes on behind the block of which it was shown the output, else where it was stopped. One that
`reads` does not say an output again that it was shown, or that was cut off; one that does not goes
on in the middle of it.
"""

from __future__ import annotations

import re

from actors.engines.contract import Chat, EngineSettings, Reply, Sampling
from actors.engines.scripted import ScriptedEngine
from workflows.formats import prompts

_OWN_OUTPUT = re.compile(
    r"\s*\**\[code output\][^\n]*\n(?:\s*```(?:output)?\n.*?\n```\n)?", re.IGNORECASE | re.DOTALL
)


class OneText(ScriptedEngine):
    """Says `reply` as a rationale and `vote` as each index vote."""

    def __init__(
        self, reply: str, vote: str = "-1}", reads: bool = False, again: str | None = None
    ) -> None:
        """`again`: what it says where the whole text is asked for once more; None: the same."""
        super().__init__(self._say, EngineSettings(kind="scripted"))
        self._reply, self._vote, self._reads, self._again = reply, vote, reads, again
        self.taken_up = 0
        """How often it was asked to go on with a paragraph that somebody else opened."""
        self._before, self._since, self._at, self._shown = 0, 0, 0, 0
        self._opened: str | None = None

    def _say(self, chat: Chat, seed: int) -> str:
        return self._vote if _votes(chat) else self._reply[self._at :]

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """Go on; from the beginning where the text is asked for once more."""
        if self._opened is None or chat.prefill == self._opened:
            self._reply = self._again or self._reply if self._opened else self._reply
            self._opened = chat.prefill
            self._before, self._since, self._at, self._shown = 0, 0, 0, 0
        elif chat.prefill.endswith(f"{prompts.ANALYZE_OPEN}\n"):
            self.taken_up += 1
        shown = chat.prefill.count(prompts.CODE_CLOSE + prompts.CODE_OUTPUT_OPEN)
        if shown > self._shown:
            self._shown = shown
            code = chat.prefill.rsplit(prompts.CODE_OPEN, 1)[-1].split(prompts.CODE_CLOSE)[0]
            found = self._reply.find(code.split("\n")[-1].strip(), self._since)
            if found >= 0:
                self._at = self._line_end(self._line_end(found))
                self._skip_output(self._at)
                self._since = self._at
        elif not chat.prefill.endswith(said := self._reply[self._before : self._at]):
            self._skip_output(self._before + max(said.lower().rfind("[code output]"), 0))
        reply = await super().generate(chat, sampling)
        if not _votes(chat):
            self._before = self._at
            self._at += len(reply.completions[0].text)
        return reply

    def _skip_output(self, at: int) -> None:
        """Go on behind an output of its own that stands at a place of its text."""
        own = _OWN_OUTPUT.match(self._reply, at)
        if self._reads and own is not None:
            self._at = max(self._at, own.end())

    def _line_end(self, at: int) -> int:
        """Behind the line's end."""
        end = self._reply.find("\n", at)
        return len(self._reply) if end < 0 else end + 1


def _votes(chat: Chat) -> bool:
    return chat.prefill.endswith(prompts.CONCLUSION)
