"""Control tokens that stand in somebody's text stay text.

A tokenizer cuts `<|im_end|>` out of any text and makes it the token that ends a turn, wherever it
comes from: a problem, a step, a program's output. So such a text is marked inside of each control
token before a template renders it, and what is rendered is tokenized in parts, cut at the marks:
no part holds a control token but the template's own.

Invariant: the ids of marked parts, decoded, are the text; where a tokenizer can't say it like that,
it is an ItemError `control_token`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from actors.engines.contract import Refusal
from storage.errors import ItemError

MARK = "\ufdd0"
"""A code point that is no character, now or ever."""

_CONTROL = re.compile(r"<[|｜][^<>]+[|｜]>|</?(?:think|tool_\w+)>")
"""Tokens that templates use without calling them special."""


class ControlTokens:
    """The control tokens of one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self._ids: dict[int, str] = {}
        for number, token in added.items():
            name = token.content.strip()
            if name and (token.special or _CONTROL.fullmatch(name)):
                self._ids[number] = name
        names = "|".join(map(re.escape, sorted(set(self._ids.values()), key=len, reverse=True)))
        self._any = re.compile(names) if names else None
        self._each = re.compile(f"(?=({names})).", re.DOTALL)
        self._check = lru_cache(maxsize=None)(self._can_be_text)

    def marked(self, text: str) -> str:
        """The text with a mark behind the first character of each control token in it.

        Raises ItemError `control_token`.
        """
        if MARK in text:
            raise ItemError(Refusal.CONTROL_TOKEN, "the text holds U+FDD0")
        if self._any is None or not self._any.search(text):
            return text
        return self._each.sub(self._mark, text)

    def _mark(self, match: re.Match[str]) -> str:
        if not self._check(match[1]):
            raise ItemError(Refusal.CONTROL_TOKEN, match[1])
        return match[0] + MARK

    def _can_be_text(self, name: str) -> bool:
        """Whether a control token's name can be spelt in two parts."""
        parts = (f"a{name[0]}", f"{name[1:]}a")
        ids = [
            number
            for part in parts
            for number in self._tokenizer(part, add_special_tokens=False)["input_ids"]
        ]
        whole = self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return whole == "".join(parts) and not self._ids.keys() & set(ids)


def unmarked(text: str) -> str:
    """The text again."""
    return text.replace(MARK, "")
