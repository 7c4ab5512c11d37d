"""The fenced blocks of a text, as CommonMark defines them; markdown-it-py reads them.

Tags such as `<verify>` are not read as HTML, so that a fence on the line behind one is a fence.

Invariant: all functions are pure. Lines must end with newlines alone (`unix` converts a text), so
that offsets are those of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from markdown_it import MarkdownIt

_READER = MarkdownIt("commonmark").disable("html_block")
_READER.core.ruler.enableOnly(["block"])
_READER.parse("a")  # compiles its rules: of threads that do so at once, one could read with none
_PYTHON = re.compile(r"\{?\.?(?:python|py)(?:[23](?:\.\d+)?)?(?=[\s}:,]|$)", re.IGNORECASE)
_LINE_END = re.compile(r"\r\n?")
_RUN = re.compile(r"`{3,}|~{3,}")
_FENCE_LIKE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})|`{3,}[ \t]*$")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block, with its fences and the marks of a list or quote around them."""

    start: int
    end: int
    """Offsets of its lines; `end` is behind the last line end."""
    info: str
    """The text behind the opening fence, trimmed."""
    content: str
    """Its lines without the last line end."""
    closed: bool
    """Whether a fence ends it. False: the text, or the list or quote around it, ends."""

    @property
    def is_python(self) -> bool:
        """Whether it is marked as Python, in any spelling."""
        return _PYTHON.match(self.info) is not None

    @property
    def is_code(self) -> bool:
        """Whether it is Python that can be run: closed and not empty."""
        return self.is_python and self.closed and bool(self.content.strip())


def unix(text: str) -> str:
    """Convert all line ends to newlines."""
    return _LINE_END.sub("\n", text) if "\r" in text else text


@lru_cache(maxsize=64)
def blocks(text: str) -> tuple[Block, ...]:
    """Find the fenced blocks of a text, in order."""
    if "```" not in text and "~~~" not in text:
        return ()
    whole = text if text.endswith("\n") else text + "\n"
    starts = [0, *accumulate(len(line) + 1 for line in whole.split("\n"))]
    fenced = []
    for token in _READER.parse(whole):
        if token.type == "fence" and token.map is not None:
            first, last = token.map
            fenced.append(
                Block(
                    start=starts[first],
                    end=min(starts[last], len(text)),
                    info=token.info.strip(),
                    content=token.content.removesuffix("\n"),
                    closed=last - first == token.content.count("\n") + 2,
                )
            )
    return tuple(fenced)


def masked(text: str) -> str:
    """Replace the characters of fenced blocks by blanks; line ends stay."""
    parts, at = [], 0
    for block in blocks(text):
        hidden = "\n".join(" " * len(line) for line in text[block.start : block.end].split("\n"))
        parts += [text[at : block.start], hidden]
        at = block.end
    return "".join([*parts, text[at:]])


def odd_line_in_code(block: Block) -> str | None:
    """The first line of a block that looks like a fence but didn't end it."""
    lines = block.content.split("\n")
    return next((line for line in lines if _FENCE_LIKE.search(line)), None)


def odd_line_in_prose(text: str) -> str | None:
    """The first line outside of blocks that looks like a fence but opens no block.

    Code inside a sentence, opened and closed in one line, is prose.
    """
    lines = masked(text).split("\n")
    return next((line for line in lines if len(_RUN.findall(line)) % 2), None)
