"""Text to token ids, where long texts grow at their end: known parts are not tokenized again.

A conversation is asked about many times, each time a little longer. A tokenizer cuts special tokens
(`<|im_start|>`) out of a text before it looks at anything else, so that what lies between two of
them can be tokenized by itself and remembered.

A fast tokenizer is asked without what transformers wraps around it, which costs as much again.

Invariant: the ids are those of the whole text by the tokenizer itself. Tokenizers for which parts
might differ (a special token that swallows blanks before it, a mark at the beginning of each text)
are found by comparing the first texts, and get every text whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from sys import getsizeof
from threading import Lock
from typing import Any

from actors.engines.recent import RecentIds

COMPARED = 3
"""Texts (of several parts, where there are any) that are tokenized both ways before that is
trusted."""
MOST_BYTES = 64 << 20
"""Of the parts that are kept: some 15,000 paragraphs."""


class Spelling:
    """Token ids of texts, without special tokens around them. Threads may share it."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._fast = getattr(tokenizer, "backend_tokenizer", None)
        if self._fast is not None:  # as the tokenizer itself would before each text
            self._fast.no_truncation()
            self._fast.no_padding()
        self._cut = _before_specials(tokenizer)
        self._to_compare = COMPARED
        self._known: RecentIds[str] = RecentIds(MOST_BYTES)
        self._lock = Lock()
        """Held for a look-up, never while a text is tokenized."""

    def ids(self, text: str) -> list[int]:
        """A text as token ids."""
        cut = self._cut
        parts = [part for part in cut.split(text) if part] if cut else [text]
        several = len(parts) > 1
        ids = list(chain.from_iterable(map(self._part, parts))) if several else self._whole(text)
        if self._to_compare and (several or self._fast is not None):
            whole = self._slowly(text)
            if ids != whole:
                if several:
                    self._cut = None
                else:
                    self._fast = None
                return whole
            self._to_compare -= several or cut is None
        return ids

    def _part(self, part: str) -> Sequence[int]:
        with self._lock:
            known = self._known.get(part)
        if known is not None:
            return known
        ids = self._whole(part)
        with self._lock:
            return self._known.keep(part, ids, getsizeof(part))

    def _whole(self, text: str) -> list[int]:
        if self._fast is None:
            return self._slowly(text)
        ids: list[int] = self._fast.encode(text, add_special_tokens=False).ids
        return ids

    def _slowly(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def _before_specials(tokenizer: Any) -> re.Pattern[str] | None:
    """Matches the empty text before each special token that begins a part; None: there is none."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    marks = [
        token.content
        for token in added.values()
        if token.special and not (token.lstrip or token.single_word or token.normalized)
    ]
    return re.compile(f"(?={'|'.join(map(re.escape, marks))})") if marks else None
