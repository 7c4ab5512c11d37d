"""From a chat to the tokens of its prompt: the model's own chat template, then the prefill.

Invariant: a prompt is tokenized as one text without further special tokens, so that there is
never a second beginning-of-text token and the prefill joins the template as it did in training.
Control tokens are the template's own, and those that the prefill opens and ends a thought with.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

from jinja2 import TemplateError

from actors.bounded import TooLong, bounded
from actors.engines.contract import Chat, EngineSettings
from actors.engines.control_tokens import MARK, ControlTokens
from actors.engines.recent import RecentIds
from actors.engines.token_ids import Spelling
from actors.machines.fitness import Misfit
from actors.models.fetching import small_files, tokenizer_of
from actors.models.folder import loaded
from actors.models.identity import CODE
from storage.errors import InputError, first_line

MOST_BYTES = 32 << 20
"""Of the rendered prompts that are kept: parts and rounds of a request render once."""
AT_ONCE = 4_000
"""Characters that are rendered on the event loop: a thread's turn costs more than they do."""
LONGEST_S = 5.0
"""Most seconds of a processor that a chat template may take for one chat."""
THINK, THOUGHT_END = ("<think>\n", "<think>"), "</think>"
REMEDY = "name a tokenizer with another chat template (`tokenizer`)"


class ChatRenderer:
    """A tokenizer with a chat template, and a thread of its own to use it in."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._spelling = Spelling(tokenizer)
        self._control = ControlTokens(tokenizer)
        self._remembered: RecentIds[Chat] = RecentIds(MOST_BYTES)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="render")

    @classmethod
    def load(cls, settings: EngineSettings) -> ChatRenderer:
        """Load the tokenizer of a model. Raises InputError where there is none to be had."""
        from transformers import AutoTokenizer

        source = tokenizer_of(settings)
        name = source.identity
        files, code = small_files(source), bool(settings.options.get(CODE))
        tokenizer = loaded(
            f"no tokenizer can be loaded from {name!r}",
            lambda: AutoTokenizer.from_pretrained(files, trust_remote_code=code),
        )
        if not tokenizer.chat_template:
            raise InputError(
                f"the tokenizer of {name!r} has no chat template: add chat_template.jinja, or "
                "name a tokenizer that has one"
            )
        return cls(tokenizer)

    def text(self, chat: Chat) -> str:
        """The prompt as text.

        Where the template opens the model's thinking by itself, a prefill that opens it too does
        not open it twice.
        """
        try:
            opened = self._opened(chat)
        except TooLong as error:
            raise InputError(f"the model's chat template does not end: {error}") from None
        for think in THINK:
            if opened.endswith(think) and chat.prefill.startswith(think):
                return opened + chat.prefill.removeprefix(think)
        return opened + chat.prefill

    def _opened(self, chat: Chat) -> str:
        """The turns, and the opened turn of the assistant."""
        render = partial(self._tokenizer.apply_chat_template, chat.turns(), tokenize=False)
        opened: str = bounded(partial(render, add_generation_prompt=True), LONGEST_S)
        return opened

    def misfit(self, chat: Chat) -> Misfit | None:
        """Why the template can't show what a chat says; None where it can."""
        try:
            opened = self._opened(chat)
        except (TooLong, TemplateError, TypeError, ValueError) as error:
            return Misfit(
                f"its chat template refuses a system and a user turn ({first_line(error)})", REMEDY
            )
        if lost := [turn.role for turn in chat.messages if turn.content.strip() not in opened]:
            return Misfit(f"its chat template leaves the {lost[0]} turn out", REMEDY)
        thinks = opened.rstrip().endswith(THINK[1])
        if thinks and chat.prefill and not chat.prefill.startswith(THINK[1]):
            return Misfit(
                f"its chat template opens {THINK[1]} before {chat.prefill.strip()!r}, so that the "
                "steps would be thoughts",
                "take a model that does not think aloud, or " + REMEDY,
            )
        return None

    def _marked(self, chat: Chat) -> Chat:
        """The chat with its texts' control tokens marked as text."""
        messages = tuple(
            replace(turn, content=self._control.marked(turn.content)) for turn in chat.messages
        )
        opened = next((think for think in THINK if chat.prefill.startswith(think)), "")
        body, end, behind = chat.prefill.removeprefix(opened), "", ""
        if chat.thought_ends:
            body, end, behind = body.rpartition(THOUGHT_END)
        prefill = opened + self._control.marked(body) + end + self._control.marked(behind)
        return replace(chat, messages=messages, prefill=prefill)

    def spell(self, text: str) -> list[int]:
        """A text as token ids, without special ones around it."""
        try:
            text.encode()
        except UnicodeEncodeError:  # half a character, as JSON may hold it, becomes U+FFFD
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return self._spelling.ids(text)

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.spell(text))

    def tokens(self, chat: Chat) -> tuple[int, ...]:
        """The prompt as token ids; blocks for up to milliseconds.

        Raises ItemError `control_token` for a text that this tokenizer can't spell as text.
        """
        return tuple(self._unmarked_ids(self.text(self._marked(chat))))

    def text_tokens(self, text: str) -> list[int]:
        """Somebody's text as token ids, none of them a control token. Raises as `tokens`."""
        return self._unmarked_ids(self._control.marked(text))

    def _unmarked_ids(self, marked: str) -> list[int]:
        return list(chain.from_iterable(map(self.spell, marked.split(MARK))))

    async def prompt(self, chat: Chat) -> tuple[int, ...]:
        """The prompt as token ids, remembered for a while; long ones are rendered in a thread."""
        known = self._remembered.get(chat)
        if known is not None:
            return tuple(known)
        size = len(chat.prefill) + sum(len(turn.content) for turn in chat.messages)
        if size <= AT_ONCE:
            tokens = self.tokens(chat)
        else:
            loop = asyncio.get_running_loop()
            tokens = await loop.run_in_executor(self._thread, self.tokens, chat)
        self._remembered.keep(chat, tokens, size)
        return tokens

    def close(self) -> None:
        """Give the thread back."""
        self._thread.shutdown(wait=False)
