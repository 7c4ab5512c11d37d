"""Cuts a solution into its steps, and joins steps.

Step headers are read as chat models write them, in upper or lower case. Markdown headings,
emphasis, brackets, quotes and list marks may be around them. Behind the number comes a colon, full
stop, bracket, dash or line's end. A title belongs to its step. A fenced block has no header.

Invariant: ``split(join(steps)) == steps`` for any steps without a header inside. Only a header with
the next number starts a step: "Step up by 3", or "Step 2" in the middle of step 5, doesn't. If a
header skips a number the text has a `gap`, since one step would hold two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

SEPARATOR = "\n\n"

_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_B = r"[^\S\r\n]"
"""A blank inside a line, also no-break, narrow and wide ones."""
_HEADER = re.compile(
    rf"""^(?:{_B}*+>)*+{_B}*+(?:\\noindent{_B}*+)?
    (?P<item>(?:[-*+•\u2190-\u2bff\U0001f300-\U0001faff]\ufe0f?|\\item|\d{{1,3}}[.)]){_B}++)?
    (?P<heading>\#{{1,6}}{_B}*+)?
    (?P<marks>[*_`]{{1,3}}|[-=~]{{2,}}|\$?\\\w+\*?\{{|<\w+>)?{_B}*+(?P<bracket>[(\[【（])?{_B}*+
    step{_B}*+(?:[-_\#№(]|no\.)?{_B}*+
    (?P<number>\d{{1,3}}|(?:{"|".join(_WORDS)})\b)(?:{_B}*+(?:/|of\b){_B}*+\d{{1,3}})?
    (?=(?P<rest>[^\r\n]*))""",
    re.MULTILINE | re.IGNORECASE | re.VERBOSE,
)
_CLOSERS = r"(?:[*_`]{1,3}|[-=~]{2,}|\}\$?|</\w+>)"
_COLON = rf"{_B}*+[:：﹕]"
_SIGN = (
    rf"(?:{_COLON}|\.(?!\w)|{_B}*+[)\]】）](?:{_COLON})?"
    rf"|{_B}*+(?:[–—→⇒]|-(?=\s|$)|[-=]>)(?!{_B}*+\d{{1,3}}(?:{_COLON}|$)))"
)
_TITLE = rf"{_B}*+[(（][^()（）]{{1,80}}[)）]"
_PLAIN_END = re.compile(rf"(?={_TITLE}(?:{_SIGN}|{_B}*+$))|{_SIGN}|{_B}*+$")
_MARKED_END = re.compile(
    rf"(?={_TITLE}{_CLOSERS}?(?:{_SIGN}|{_B}*+$))"
    rf"|(?:{_SIGN})?{_B}*+(?P<closed>{_CLOSERS})(?:{_SIGN}|(?=\s|$))|{_SIGN}|(?=.*{_CLOSERS}{_B}*+$)"
)
_FENCE = re.compile(rf"^{_B}*+(`{{3,}}|~{{3,}})([^\n]*)$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n\s*\n")


class Solution(NamedTuple):
    """A text, read as steps."""

    steps: tuple[str, ...]
    """Without headers; a text without headers is one step, an empty text none."""
    starts: tuple[int, ...]
    """Offset of each step's header in the text; empty without headers."""
    gap: bool
    """Whether a later header skips a number."""


class Flaw(StrEnum):
    """Why a text is no whole solution in steps; the list is closed."""

    TRUNCATED = "truncated"
    """It was cut at the limit of tokens."""
    NO_BOX = "no_box"
    """It has no boxed answer."""
    STEP_GAP = "step_gap"
    """A header is missing, so that two steps stand in one."""
    EMPTY_STEP = "empty_step"
    """A step has no text."""
    ONE_STEP = "one_step"
    """It has fewer than two steps."""


class _Header(NamedTuple):
    number: int
    start: int
    end: int
    """Offset of the step's text."""
    reopened: str
    """Marks that the header opens and its title closes: they stay before the step's text."""
    item: bool


def header(number: int) -> str:
    """The header that step ``number`` (counted from 1) starts with, trailing space included."""
    return f"Step {number}: "


@lru_cache(maxsize=64)  # a path's text is asked for its steps, their flaws and their openings
def read(text: str) -> Solution:
    """Find the steps of a solution.

    Text before the first header belongs to no step. A header counts only if it has the next number
    (the first may have any): a repeated or distant number cuts no step in two. A header in a list
    item counts only if no other header of that number follows: a plan stays in its step.
    """
    headers = list(_headers(text))
    last = {mark.number: mark.start for mark in headers if not mark.item}
    cut: list[_Header] = []
    for mark in headers:
        planned = mark.item and last.get(mark.number, -1) > mark.start
        if not planned and (not cut or mark.number == cut[-1].number + 1):
            cut.append(mark)
    if not cut:
        whole = text.strip()
        return Solution((whole,) if whole else (), (), False)
    ends = [mark.start for mark in cut[1:]] + [len(text)]
    return Solution(
        tuple(
            (mark.reopened + text[mark.end : end].lstrip()).strip()
            for mark, end in zip(cut, ends, strict=True)
        ),
        tuple(mark.start for mark in cut),
        any(mark.number > cut[-1].number and mark.start > cut[-1].start for mark in headers),
    )


def split(text: str) -> tuple[str, ...]:
    """The steps of a solution; see `read`."""
    return read(text).steps


def blocks(text: str) -> tuple[str, ...]:
    """Cut a text at its blank lines, but never inside a fenced block."""
    borders = [(match.start(), match.end()) for match in _BLANK_LINES.finditer(_plain(text))]
    starts = [0, *(end for _, end in borders)]
    ends = [*(start for start, _ in borders), len(text)]
    parts = (text[start:end].strip() for start, end in zip(starts, ends, strict=True))
    return tuple(part for part in parts if part)


def step_flaw(text: str) -> Flaw | None:
    """`STEP_GAP` or `EMPTY_STEP` if the steps of a text are not whole, else None."""
    solution = read(text)
    if solution.gap:
        return Flaw.STEP_GAP
    return None if all(solution.steps) else Flaw.EMPTY_STEP


def whole(text: str) -> tuple[str, ...]:
    """The steps of a text; empty if they have a flaw."""
    return () if step_flaw(text) else split(text)


def join(steps: Sequence[str]) -> str:
    """Join steps to a solution: "Step k: text", with blank lines between."""
    return SEPARATOR.join(header(number) + step for number, step in enumerate(steps, start=1))


def opening(steps: Sequence[str]) -> str:
    """The beginning of a solution with these steps, up to the header of the next step."""
    return "".join(
        header(number) + step + SEPARATOR for number, step in enumerate(steps, start=1)
    ) + header(len(steps) + 1)


def openings(text: str, steps: Sequence[str]) -> tuple[str, ...]:
    """The text that a rollout of each state 0..T-1 continues: the original text, a bare header.

    A title behind the header is left out, since it would tell what comes. `steps`: the steps that
    were read from the text. If today's reader finds others, the given steps are joined instead.
    """
    solution = read(text)
    if solution.steps != tuple(steps) or len(solution.starts) != len(steps):
        return tuple(opening(steps[:state]) for state in range(len(steps)))
    return tuple(
        (text[:start] if state else "") + header(state + 1)
        for state, start in enumerate(solution.starts)
    )


def _plain(text: str) -> str:
    """Replace the fenced blocks of a text by as many `x`.

    A fence that is never closed is no fence: it would hide all steps behind it.
    """
    fences = list(_FENCE.finditer(text))
    if not fences:
        return text
    closing: list[dict[str, int]] = [{}]
    """For each fence: character -> length of the longest closing fence from there on."""
    for fence in reversed(fences):
        longest = dict(closing[-1])
        if not fence[2].strip():
            longest[fence[1][0]] = max(len(fence[1]), longest.get(fence[1][0], 0))
        closing.append(longest)
    closing.reverse()
    opened: re.Match[str] | None = None
    parts, at = [], 0
    for fence, behind in zip(fences, closing[1:], strict=True):
        mark = fence[1]
        if opened is None:
            if behind.get(mark[0], 0) >= len(mark) and not (mark[0] == "`" and "`" in fence[2]):
                opened = fence
        elif mark.startswith(opened[1]) and not fence[2].strip():
            parts += [text[at : opened.start()], "x" * (fence.end() - opened.start())]
            opened, at = None, fence.end()
    return "".join([*parts, text[at:]])


def _headers(text: str) -> Iterator[_Header]:
    """Yield every line's beginning that looks like a header, outside of fenced blocks, in order."""
    for match in _HEADER.finditer(_plain(text)):
        marks = match["marks"] or ""
        end = (_MARKED_END if marks else _PLAIN_END).match(match["rest"])
        if end is None and not (match["heading"] and match["rest"][:1].isspace()):
            continue
        size, closed = (end.end(), end.groupdict().get("closed")) if end else (0, None)
        reopened = "" if closed else marks
        if match["bracket"] and match["rest"].strip()[:1] not in tuple(")]】）"):
            reopened += match["bracket"]
        word = match["number"].lower()
        number = _WORDS.index(word) + 1 if word in _WORDS else int(word)
        yield _Header(number, match.start(), match.end() + size, reopened, bool(match["item"]))


def flaw(finish_reason: str, text: str, answer: str | None) -> Flaw | None:
    """Why a path is invalid; None for a valid one."""
    if finish_reason != "stop":
        return Flaw.TRUNCATED
    if answer is None:
        return Flaw.NO_BOX
    return step_flaw(text) or (Flaw.ONE_STEP if len(split(text)) < 2 else None)
