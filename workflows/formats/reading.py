r"""Reads the texts of rationale writers and judges: headings, parts, verdicts and indices.

It forgives form: headings may be bold, indented, numbered, in a list or in another language, tags
in capitals, a number in braces or in `\text{}`. It is strict in meaning: ambiguous text is not
read. Nothing inside a fenced block is a heading or a tag.

Invariant: all functions are pure. Offsets are those of the text, whose lines end with newlines.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

from workflows.answers.boxes import closed_boxes
from workflows.formats.fences import masked

THOUGHT_END = "</think>"

# Runs of blanks are possessive: what gives them back, one by one, reads a long run in n^3 steps.
_WORD = (
    r"(?:paragraphs?|paragraphe|para\.?|p[aá]rrafo|par[aá]grafo|absatz|абзац|段落|段)"
    r"[ \t_#:{\[(]*+(?:ID|No\.?|Nr\.?|number)?[ \t:]*+"
)
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER = (
    rf"[{{\[(]?[ \t]*+(?P<number>\d{{1,4}}|{'|'.join(_WORDS)})(?:[ \t]*+[}}\])])?"
    r"(?![^\W_]|\{|\.\d)"
)
_LEAD = (
    r"^[ \t>]*+(?:[-*+][ \t]++)?(?:\d{1,3}[.)][ \t]++)?(?P<marks>#{1,6})?[ \t]*+"
    r"(?:\d{1,3}[.)][ \t]*+)?(?P<bold>[*_]{1,3})?`?"
)
_HEADING = re.compile(
    rf"{_LEAD}(?:{_WORD}{_NUMBER}|第[ \t]*+(?P<chinese>\d{{1,4}})[ \t]*+段落?|"
    r"<paragraph_(?P<tagged>\d{1,4})>|"
    r"(?<=[ \t])(?P<before>\d{1,4})[.)][ \t]*+Paragraph(?=[ \t*]*+$))"
    r"(?P<rest>[^\n]*)$",
    re.MULTILINE | re.IGNORECASE,
)
_PLURAL = re.compile(r"paragraphs", re.IGNORECASE)
_MORE = re.compile(
    rf"[ \t*_`]*+(?:-|–|—|to\b|through\b|and\b|,|&)[ \t]*+(?:{_WORD})?\{{?\d{{1,4}}\b\}}?"
    r"(?P<after>[^\n]*)$",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"[ \t*_`]*+(?:$|[:：.,;&(\-–—]|(?:and|to|together|combined)\b)", re.IGNORECASE
)
_BOLD_ALONE = re.compile(r"[ \t]*+`?[ \t]*+(?:[:：.(\-–—][^\n]*?)?[*_]{1,3}[ \t]*+[:：.]?[ \t]*+$")
_END = re.compile(
    r"^[ \t>]*+(?:(?P<marks>#{1,6})[ \t]*+)?(?P<bold>[*_]{1,3})?[ \t]*+"
    r"(?:(?:final|overall)[ \t]++(?:conclusion|answer|verdict|judge?ment|assessment|result)|"
    r"conclusion|结论|最终结论)[ \t]*+[:：]?[ \t]*+[*_]{0,3}[ \t]*+[:：]?[ \t]*+$",
    re.MULTILINE | re.IGNORECASE,
)
_TAG = re.compile(
    r"<[ \t]*+(?P<close>/?)[ \t]*+"
    r"(?:(?P<analyze>analy[sz]e|analysis)|(?P<verify>verify|verification)|(?P<output>output))"
    r"[ \t]*+>",
    re.IGNORECASE,
)
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|operatorname)\s*\{")
_MINUS = str.maketrans(dict.fromkeys("−–—－﹣", "-"))
_INDEX = re.compile(r"(?:paragraph|index)?[ _#:]*([+-]?) ?(\d{1,3})", re.IGNORECASE)
_VERDICTS = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class Part:
    """The text between `<name>` and `</name>`."""

    name: str
    """`analyze`, `verify` or `output`."""
    start: int
    end: int
    closed: bool
    """False: the next part, the next heading or the text's end ended it."""


@dataclass(frozen=True, slots=True)
class Section:
    """The text below one heading."""

    number: int | None
    """Number of the paragraph, from 1; None for the conclusion."""
    heading: str
    merged: bool
    """Whether the heading names several paragraphs."""
    start: int
    """Offset behind the heading's line."""
    parts: list[Part] = field(default_factory=list)

    def named(self, *names: str) -> list[Part]:
        """Its parts of these names, in order."""
        return [part for part in self.parts if part.name in names]


@dataclass(frozen=True, slots=True)
class _Mark:
    """A heading or a tag, with its place in the text."""

    start: int
    end: int
    section: Section | None = None
    tag: str = ""
    closing: bool = False


def sections(text: str) -> list[Section]:
    """Find the headings of a text in order, each with its parts.

    A heading inside a part that is closed behind it is prose. A part that is not closed ends at the
    next part, the next heading or the text's end.
    """
    plain = masked(text)
    marks = sorted((*_headings(plain), *_tags(plain)), key=lambda mark: mark.start)
    all_sections: list[Section] = []
    opened: _Mark | None = None
    behind = 0  # where the last part or heading ended

    def end_part(at: int, closed: bool) -> None:
        nonlocal opened
        if opened is not None and all_sections:
            all_sections[-1].parts.append(Part(opened.tag, opened.end, at, closed))
        opened = None

    for place, mark in enumerate(marks):
        later = marks[place + 1 :]
        if mark.section is not None:
            if opened is not None and _closes(opened.tag, later):
                continue
            end_part(mark.start, closed=False)
            all_sections.append(mark.section)
            behind = mark.end
        elif mark.closing:
            if opened is None and plain[behind : mark.start].strip():
                opened = _Mark(behind, behind, tag=mark.tag)  # its opening was left out
            if opened is not None and opened.tag == mark.tag:
                end_part(mark.start, closed=True)
                behind = mark.end
        elif opened is None:
            opened = mark
        elif opened.tag == mark.tag:
            if not plain[opened.end : mark.start].strip():
                opened = mark  # said twice
        elif not _closes_before_heading(opened.tag, later):
            end_part(mark.start, closed=False)
            opened = mark
    end_part(len(text), closed=False)
    return all_sections


def _closes(tag: str, later: list[_Mark]) -> bool:
    """Whether the next tag closes `tag`."""
    following = next((mark for mark in later if mark.tag), None)
    return following is not None and following.closing and following.tag == tag


def _closes_before_heading(tag: str, later: list[_Mark]) -> bool:
    for mark in later:
        if mark.section is not None:
            return False
        if mark.closing and mark.tag == tag:
            return True
    return False


def _headings(plain: str) -> Iterator[_Mark]:
    for match in _HEADING.finditer(plain):
        rest = match["rest"]
        bold = match["bold"] is not None and _BOLD_ALONE.match(rest) is not None
        tag = _TAG.match(plain, _next_text(plain, match.end("rest")))
        opens = (tag is not None and not tag["close"]) or _opens_at_end(rest)
        if (match["marks"] and not match["tagged"]) or bold or opens:
            more = _MORE.match(rest)
            named = plain[match.start() : match.start("rest")]
            merged = more is not None and (
                _PLURAL.search(named) is not None or _GOES_ON.match(more["after"]) is not None
            )
            end = match.start("rest") if _opens_at_end(rest) else match.end()
            section = Section(_number(match), match[0].strip(), merged, end)
            yield _Mark(match.start(), end, section)
    for match in _END.finditer(plain):
        if match["marks"] or match["bold"]:
            section = Section(None, match[0].strip(), False, match.end())
            yield _Mark(match.start(), match.end(), section)


def _number(heading: re.Match[str]) -> int:
    written: str = heading["number"] or heading["chinese"] or heading["tagged"] or heading["before"]
    return int(written) if written.isdecimal() else _WORDS.index(written.casefold()) + 1


def _next_text(plain: str, at: int) -> int:
    """Offset of the next character that is not blank."""
    while at < len(plain) and plain[at].isspace():
        at += 1
    return at


def _opens_at_end(rest: str) -> bool:
    """Whether a heading's own line ends with the opening of a part."""
    tag = _TAG.search(rest)
    return tag is not None and not tag["close"]


def _tags(plain: str) -> Iterator[_Mark]:
    for match in _TAG.finditer(plain):
        yield _Mark(match.start(), match.end(), tag=_name(match), closing=bool(match["close"]))


def _name(tag: re.Match[str]) -> str:
    return next(name for name in ("analyze", "verify", "output") if tag[name])


def last_tag(plain: str, before: int) -> tuple[str, int] | None:
    """(part that the last tag before an offset opens, or "" if it closes one; the tag's end)."""
    last = None
    for match in _TAG.finditer(plain, 0, before):
        last = match
    if last is None:
        return None
    return "" if last["close"] else _name(last), last.end()


def content(text: str, part: Part, number: int | None) -> str:
    """The text of a part, without its paragraph's heading if it begins with it."""
    inside = text[part.start : part.end].strip()
    again = next(_headings(masked(inside)), None)
    if again is not None and again.start == 0 and again.section and again.section.number == number:
        inside = inside[again.end :].strip()
    return inside


def thought(text: str) -> tuple[str, bool]:
    """(the text before the first `</think>` outside of code, whether there is one)."""
    at = masked(text).find(THOUGHT_END)
    return (text, False) if at < 0 else (text[:at], True)


def behind_thought(text: str) -> str:
    """The text behind the last `</think>`, since a draft in a thought is no verdict."""
    at = masked(text).rfind(THOUGHT_END)
    return text if at < 0 else text[at + len(THOUGHT_END) :]


def boxes(text: str) -> list[str]:
    r"""Contents of every `\boxed{}` that is closed, in order."""
    closed = sorted(closed_boxes(text), key=lambda box: box.start)
    return [text[box.content : box.end] for box in closed]


def up_to_brace(text: str) -> str | None:
    """The text before the first closing brace that was not opened; None without one."""
    depth = 0
    for at, character in enumerate(text):
        if character == "{":
            depth += 1
        elif character == "}":
            if depth == 0:
                return text[:at]
            depth -= 1
    return None


def _bare(text: str) -> str:
    """A word or number without the markup around it."""
    text = _WRAPPED.sub("", unicodedata.normalize("NFKC", text.translate(_MINUS)))
    for mark in ("\\(", "\\)", "\\,", "\\ ", "{", "}", "$", "*", "`", '"', "“", "”"):
        text = text.replace(mark, "")
    return " ".join(text.split()).strip("'_ ").rstrip(".,;:! ")


def index_in(text: str) -> int | None:
    """The index in the content of a box: from 1, or -1; None where it can't be read."""
    match = _INDEX.fullmatch(_bare(text))
    if match is None:
        return None
    index = int(match[2])
    if match[1] == "-":
        return -1 if index == 1 else None
    return index


def verdict_in(text: str) -> bool | None:
    """The verdict of the boxes of a text: True for Yes; None without one, or where two differ."""
    verdicts = {_VERDICTS.get(_bare(box).casefold()) for box in boxes(text)} - {None}
    return verdicts.pop() if len(verdicts) == 1 else None
