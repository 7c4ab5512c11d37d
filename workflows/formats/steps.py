"""Cut a solution into its steps, and put steps back together.

Headers are read as chat models write them: in any case, with markdown headings, emphasis, brackets,
quotes and list marks around them, a colon, full stop, bracket, dash or line's end behind the
number, with or without a title, which belongs to its step. What stands in a fenced block is none.

Invariant: ``split(join(steps)) == steps`` for any steps that hold no step header of their own, and
only a header whose number continues the count starts a step: "Step up by 3" or a reference to
"Step 2" in the middle of step 5 stays inside the step in which it stands. A text that goes on with
a later number than the next one has a `gap`, since two of its steps would stand in one.
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
"""A blank inside of a line: no-break, narrow and wide ones too."""
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
    """Headers stripped; a text without headers is one step, an empty one none."""
    starts: tuple[int, ...]
    """Where in the text the header of each step begins; empty where there is none."""
    gap: bool
    """Whether a header follows whose number is later than the next one."""


class Flaw(StrEnum):
    """What keeps a text from being a solution in steps; closed."""

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
    """The step's text begins here,"""
    reopened: str
    """behind these marks, which its title closes."""
    item: bool


def header(number: int) -> str:
    """The header that step ``number`` (counted from 1) starts with, trailing space included."""
    return f"Step {number}: "


@lru_cache(maxsize=64)  # a path's text is asked for its steps, their flaws and their openings
def read(text: str) -> Solution:
    """Find the steps of a solution.

    Text before the first header belongs to no step: a solution whose turn was opened with
    "Step 1: " has none. A header counts only when it bears the next number (the first may bear
    any), so that a repeated or distant number does not cut a step in two; as an item of a list it
    counts only where no other header of that number follows, so that a plan stays in its step.
    """
    found = list(_headers(text))
    last = {one.number: one.start for one in found if not one.item}
    cut: list[_Header] = []
    for one in found:
        planned = one.item and last.get(one.number, -1) > one.start
        if not planned and (not cut or one.number == cut[-1].number + 1):
            cut.append(one)
    if not cut:
        whole = text.strip()
        return Solution((whole,) if whole else (), (), False)
    ends = [one.start for one in cut[1:]] + [len(text)]
    return Solution(
        tuple(
            (one.reopened + text[one.end : end].lstrip()).strip()
            for one, end in zip(cut, ends, strict=True)
        ),
        tuple(one.start for one in cut),
        any(one.number > cut[-1].number and one.start > cut[-1].start for one in found),
    )


def split(text: str) -> tuple[str, ...]:
    """The steps of a solution; see `read`."""
    return read(text).steps


def blocks(text: str) -> tuple[str, ...]:
    """The parts of a text between its blank lines; a fenced block is never cut."""
    borders = [(match.start(), match.end()) for match in _BLANK_LINES.finditer(_plain(text))]
    starts = [0, *(end for _, end in borders)]
    ends = [*(start for start, _ in borders), len(text)]
    parts = (text[start:end].strip() for start, end in zip(starts, ends, strict=True))
    return tuple(part for part in parts if part)


def step_flaw(text: str) -> Flaw | None:
    """`STEP_GAP` or `EMPTY_STEP` where the steps of a text are not whole; None where they are."""
    solution = read(text)
    if solution.gap:
        return Flaw.STEP_GAP
    return None if all(solution.steps) else Flaw.EMPTY_STEP


def whole(text: str) -> tuple[str, ...]:
    """The steps of a text; none where they have a flaw."""
    return () if step_flaw(text) else split(text)


def join(steps: Sequence[str]) -> str:
    """The solution whose steps these are: "Step k: text", blank lines between."""
    return SEPARATOR.join(header(number) + step for number, step in enumerate(steps, start=1))


def opening(steps: Sequence[str]) -> str:
    """A solution that begins with these steps, up to the header of the next one."""
    return "".join(
        header(number) + step + SEPARATOR for number, step in enumerate(steps, start=1)
    ) + header(len(steps) + 1)


def openings(text: str, steps: Sequence[str]) -> tuple[str, ...]:
    """What a rollout of each state continues: the text as it was written, then the bare header.

    Whatever stands behind the header (a title, say) would tell what comes. `steps` are those that
    were found in the text; where they are no longer found in it, as in a run made by an older
    reader, they are joined.
    """
    solution = read(text)
    if solution.steps != tuple(steps) or len(solution.starts) != len(steps):
        return tuple(opening(steps[:state]) for state in range(len(steps)))
    return tuple(
        (text[:start] if state else "") + header(state + 1)
        for state, start in enumerate(solution.starts)
    )


def _plain(text: str) -> str:
    """The text with its fenced blocks blackened, each character in its place.

    A fence that nothing closes is no fence: it would hide all steps behind it.
    """
    fences = list(_FENCE.finditer(text))
    if not fences:
        return text
    closing: list[dict[str, int]] = [{}]
    """Of the fences from each one on: the longest that may close a block, by its character."""
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
    """Whatever opens a line as a header does, outside of fenced blocks, in order."""
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
