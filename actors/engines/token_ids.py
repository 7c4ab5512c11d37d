"""Text to token ids, where long texts grow at their end: known parts are not tokenized again.

A conversation is asked about many times, each time a little longer. A tokenizer cuts special tokens
(`<|im_start|>`) out of a text before it looks at anything else, so that what lies between two of
them can be tokenized by itself and remembered. Within a turn that grows, as a rationale does round
by round, the same holds for paragraphs, where the tokenizer keeps them apart.

A fast tokenizer is asked without what transformers wraps around it, which costs as much again.

Invariant: the ids are those of the whole text by the tokenizer itself. Tokenizers for which parts
might differ (a special token that swallows blanks before it, a mark at the beginning of each text)
are found by comparing the first texts, and get every text whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, product
from sys import getsizeof
from threading import Lock
from typing import Any

from actors.engines.recent import RecentIds

COMPARED = 3
"""Texts (of several parts, where there are any) that are tokenized both ways before that is
trusted."""
PARAGRAPH = r"(?<=\n\n)(?=[A-Za-z*#$\\`])"
"""Where a paragraph begins."""
ENDS, GAPS = ("a", "1", ".", "$}", "é", "数", "'"), ("", " ", "  ", "\t", "\n", " \n ", "\r\n")
BEGINNINGS = ("Step", "x", "*", "**It", "#", "$x", "\\[", "```")
"""What a paragraph ends and begins with: of each kind of letters that tokenizers cut texts by."""
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
        self._cut = _beginnings(tokenizer)
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


def _beginnings(tokenizer: Any) -> re.Pattern[str] | None:
    """Matches the empty text before each special token, or paragraph, that begins a part; None:
    nothing does.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {})
    marks = [
        token.content
        for token in added.values()
        if token.special and not (token.lstrip or token.single_word or token.normalized)
    ]
    cuts = [f"(?={'|'.join(map(re.escape, marks))})"] if marks else []
    if marks and _keeps_paragraphs_apart(tokenizer):
        cuts.append(PARAGRAPH)
    return re.compile("|".join(cuts)) if cuts else None


def _keeps_paragraphs_apart(tokenizer: Any) -> bool:
    """Whether a tokenizer, before it looks for tokens, cuts a text where paragraphs meet, and each
    of them as it would alone.
    """
    fast: Any = getattr(tokenizer, "backend_tokenizer", None)
    cutter = getattr(fast, "pre_tokenizer", None)
    if cutter is None or type(fast.normalizer).__name__ not in ("NoneType", "NFC"):
        return False
    if any("\n" in token.content for token in tokenizer.added_tokens_decoder.values()):
        return False  # a token of several paragraphs, as the demo's models have

    def words(text: str) -> list[str]:
        return [word for word, _ in cutter.pre_tokenize_str(text)]

    return all(
        words(end + begin) == words(end) + words(begin)
        for end, begin in product((f"{end}{gap}\n\n" for end in ENDS for gap in GAPS), BEGINNINGS)
    )
