"""The same problem twice: within a file, and in a benchmark that a model is to be measured by.

Two texts are the same where they differ in nothing but case and white space. A problem is in a
benchmark where one of its problems is the same, or has 13 words in a row with it (the rule of
Brown et al. 2020, appendix C, for problems of 13 words and more).

Invariant: pure; what a text is compared by does not depend on the texts before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

WORDS = 13
_WORD = re.compile(r"\w+")


def key_of(text: str) -> str:
    """What two texts have in common that say the same."""
    return " ".join(text.split()).casefold()


def runs_of_words(text: str) -> Iterator[str]:
    """All 13 words in a row; none in a shorter text."""
    words = _WORD.findall(text.casefold())
    return (" ".join(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1))


class Shared(NamedTuple):
    """What a problem has in common with a benchmark."""

    benchmark: str
    words: str | None
    """The first 13 words in a row that both have; None: the whole text is the same."""

    def __str__(self) -> str:
        """One line."""
        if self.words is None:
            return f"stands in {self.benchmark}"
        return f"shares with {self.benchmark}: {self.words}"


class Benchmarks:
    """The texts of benchmarks."""

    def __init__(self, texts: Mapping[str, Iterable[str]]) -> None:
        """`texts`: name of a benchmark -> its problems."""
        self._same: dict[str, str] = {}
        self._runs: dict[str, str] = {}
        for name, problems in texts.items():
            for text in problems:
                self._same.setdefault(key_of(text), name)
                for words in runs_of_words(text):
                    self._runs.setdefault(words, name)

    def shared(self, text: str) -> Shared | None:
        """What a problem has in common with the first of them that has any of it."""
        if (name := self._same.get(key_of(text))) is not None:
            return Shared(name, None)
        if not self._runs:
            return None
        for words in runs_of_words(text):
            if (name := self._runs.get(words)) is not None:
                return Shared(name, words)
        return None
