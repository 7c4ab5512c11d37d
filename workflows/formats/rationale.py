r"""Reads a written verification: code blocks, code outputs, paragraphs, index votes.

A text is read only outside of its fenced blocks: a heading or tag that code printed is output. Text
behind the end of the thought is not read.

Invariant: all functions are pure. A text of another form is an ItemError with one of `Unreadable`.
No function here takes an answer or a label.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from actors.sandbox.contract import Execution, Limits, Verdict
from storage.errors import ItemError
from storage.rows.records import CodeRun
from workflows.formats import executed, prompts
from workflows.formats.executed import (
    is_checked,
    pieces,
    violation,
)
from workflows.formats.fences import blocks, unix
from workflows.formats.reading import Part, Section, content, sections, thought


class Unreadable(StrEnum):
    """Why a rationale can't be read; the list is closed."""

    PARAGRAPH_MISSING = "paragraph_missing"
    """A step of the solution has no paragraph."""
    PARAGRAPH_MERGED = "paragraph_merged"
    """One heading names several paragraphs."""
    PARAGRAPH_ORDER = "paragraph_order"
    """The paragraphs are not in the order of the steps, or are too many."""
    PART_MISSING = "part_missing"
    """A paragraph lacks its analysis or its verification."""
    PART_REPEATED = "part_repeated"
    """A paragraph has a part twice, and nobody can say which counts."""
    NO_CODE = "no_code"
    """A paragraph's verification has no code (`stages.rationalize.require_code`)."""
    OPEN_CODE_BLOCK = "open_code_block"
    """A code block is never closed, or swallows the next heading."""
    NOT_EXECUTED = "not_executed"
    """Code or an output is shown that was not run."""


_ASKED_HEADING = re.compile(r"#{1,6}[ \t]*+Paragraph[ \t]++\d", re.IGNORECASE)
_CUT = "\n[output cut: {} more characters]"


def paragraphs(text: str, steps: int, require_code: bool = True) -> tuple[list[str], list[str]]:
    """Read the contents of `<analyze>` and of `<verify>`, with code, of paragraphs 1..`steps`.

    Of a paragraph that was opened again, the last complete one counts. Without `require_code` a
    paragraph may say that it has nothing to compute. Raises ItemError with a reason of
    `Unreadable`.
    """
    text = unix(text)
    chosen = _chosen(text, steps, require_code)
    return (
        [content(text, analysis, number) for number, (analysis, _) in enumerate(chosen, start=1)],
        [content(text, checked, number) for number, (_, checked) in enumerate(chosen, start=1)],
    )


def _chosen(text: str, steps: int, require_code: bool) -> list[tuple[Part, Part]]:
    """The places of analysis and verification of each paragraph in the text."""
    text, ended = thought(text)
    for block in blocks(text):
        if not block.closed and (block.is_python or block.end >= len(text.rstrip())):
            raise ItemError(Unreadable.OPEN_CODE_BLOCK, "the code block at the end is never closed")
    paragraph_sections = [section for section in sections(text) if section.number is not None]
    if merged := next((section for section in paragraph_sections if section.merged), None):
        raise ItemError(Unreadable.PARAGRAPH_MERGED, merged.heading)
    numbers = list(dict.fromkeys(section.number or 0 for section in paragraph_sections))
    if missing := sorted(set(range(1, steps + 1)) - set(numbers)):
        raise _missing(text, missing[0], steps)
    if numbers != list(range(1, steps + 1)):
        named = f"paragraphs {' '.join(map(str, numbers))}, of a solution of {steps}"
        raise ItemError(Unreadable.PARAGRAPH_ORDER, named)
    return [
        _last_complete(text, ended, number, paragraph_sections, require_code) for number in numbers
    ]


def is_strict(text: str, steps: int) -> bool:
    """Whether a text has exactly the form that the prompt asks for.

    Each paragraph is there once, with a plain heading and two whole parts. Code is spelt as
    `prompts.code_block` does.
    """
    text, _ = thought(text)
    paragraph_sections = [section for section in sections(text) if section.number is not None]
    return (
        [section.number for section in paragraph_sections] == list(range(1, steps + 1))
        and all(_is_as_asked(text, section) for section in paragraph_sections)
        and all(
            text[piece.start : piece.end] == prompts.code_block(piece.code)
            for piece in pieces(text)
            if piece.code is not None
        )
    )


def _is_as_asked(text: str, section: Section) -> bool:
    return (
        _ASKED_HEADING.match(section.heading) is not None
        and [part.name for part in section.parts] == ["analyze", "verify"]
        and all(
            part.closed
            and text.endswith(f"<{part.name}>", 0, part.start)
            and text.startswith(f"</{part.name}>", part.end)
            for part in section.parts
        )
    )


def last_good(text: str, steps: int, require_code: bool = True) -> tuple[str, int, bool] | None:
    """(text up to its last good paragraph, code blocks in it, whether that is the last of `steps`).

    Good paragraphs are readable and in order, from the first on. The heading of the next paragraph
    is appended. None where the first paragraph is not good.
    """
    text, ended = thought(unix(text))
    good, end = 0, 0
    for section in sections(text):
        if section.merged or section.number not in range(1, good + 2):
            break
        if section.number == good + 1:
            try:
                end = _parts(text, ended, section, require_code)[1].end
            except ItemError:
                break
            good += 1
    if good == 0 or good > steps:
        return None
    kept = text[:end].rstrip() + f"\n{prompts.VERIFY_CLOSE}\n\n"
    count = sum(piece.code is not None for piece in pieces(kept))
    if good == steps:
        return kept, count, True
    return kept + prompts.paragraph_heading(good + 1) + prompts.ANALYZE_OPEN + "\n", count, False


def concluded(text: str, steps: int, require_code: bool = True) -> tuple[str, int] | None:
    """(text up to its conclusion, code blocks in it), if all paragraphs come before it.

    None where a paragraph is missing, unreadable, or behind the conclusion.
    """
    text, _ = thought(unix(text))
    all_sections = sections(text)
    last = max(
        (at for at, section in enumerate(all_sections) if section.number is not None), default=-1
    )
    if last + 1 >= len(all_sections):
        return None
    conclusion = all_sections[last + 1]
    kept = text[: text.rindex(conclusion.heading, 0, conclusion.start)].rstrip() + "\n\n"
    try:
        paragraphs(kept, steps, require_code)
    except ItemError:
        return None
    return kept, sum(piece.code is not None for piece in pieces(kept))


def _missing(text: str, number: int, steps: int) -> ItemError:
    """The error for a missing paragraph; a code block may have swallowed its heading."""
    for block in blocks(text):
        if any(section.number == number for section in sections(block.content)):
            return ItemError(
                Unreadable.OPEN_CODE_BLOCK,
                f"the code block before paragraph {number} goes on into it",
            )
    return ItemError(Unreadable.PARAGRAPH_MISSING, f"paragraph {number} of {steps}")


def _last_complete(
    text: str, ended: bool, number: int, candidates: Sequence[Section], require_code: bool
) -> tuple[Part, Part]:
    trouble: ItemError | None = None
    for section in reversed([each for each in candidates if each.number == number]):
        try:
            return _parts(text, ended, section, require_code)
        except ItemError as error:
            trouble = trouble or error
    raise trouble or ItemError(Unreadable.PARAGRAPH_MISSING, f"paragraph {number}")


def _parts(text: str, ended: bool, section: Section, require_code: bool) -> tuple[Part, Part]:
    """The last analysis of a paragraph, with its verification.

    Of two verifications of one analysis, the second counts if it has code. If only the first has
    code, it is unclear which counts: ItemError.
    """
    named = f"paragraph {section.number}"
    parts = [
        part
        for part in section.named("analyze", "verify")
        if part.closed or ended or part.end < len(text)
    ]
    while parts and parts[-1].name == "analyze":
        parts.pop()  # opened again and left
    names = " ".join(part.name for part in parts)
    if not {"analyze", "verify"} <= set(names.split()):
        raise ItemError(Unreadable.PART_MISSING, f"{named} has {names or 'no part that is whole'}")
    last = max(at for at, part in enumerate(parts) if part.name == "analyze")
    if parts[0].name != "analyze" or "analyze analyze" in names:
        raise ItemError(Unreadable.PART_REPEATED, f"{named} has {names}")
    analysis, checks = parts[last], parts[last + 1 :]
    if not text[analysis.start : analysis.end].strip():
        raise ItemError(Unreadable.PART_MISSING, f"{named} has an empty analysis")
    checked = [is_checked(text[check.start : check.end], require_code) for check in checks]
    if not checked[-1]:
        if any(checked):
            raise ItemError(Unreadable.PART_REPEATED, f"{named} has {names}")
        raise ItemError(Unreadable.NO_CODE, f"{named}: the code block that checks it is missing")
    return analysis, checks[-1]


def check_executed(
    analyses: Sequence[str], verifications: Sequence[str], executions: Sequence[CodeRun]
) -> None:
    """Raise ItemError `not_executed` for a paragraph that shows unrun code or output."""
    for step, parts in enumerate(zip(analyses, verifications, strict=True)):
        runs = [run for run in executions if run.step == step]
        if trouble := violation(_shown(*parts), runs):
            raise ItemError(Unreadable.NOT_EXECUTED, f"paragraph {step + 1}: {trouble}")


def _shown(analysis: str, verification: str) -> str:
    """The text of both parts, one below the other."""
    return f"{analysis}\n{prompts.VERIFY_OPEN}\n{verification}"


def shown_code(analyses: Sequence[str], verifications: Sequence[str]) -> list[tuple[int, str, str]]:
    """(step, code, output in the text) of each code block, in the order of the text."""
    return [
        (step, code, output)
        for step, parts in enumerate(zip(analyses, verifications, strict=True))
        for code, output in executed.shown_code(_shown(*parts))
    ]


def printed(execution: Execution, limits: Limits, output_chars: int) -> str:
    """The text that the writer reads of a run: its output, and what ended it.

    After an exception the output is followed by its `Type: message` line. Lines end with newlines
    alone.
    """
    shown = unix(execution.stdout).rstrip("\n")
    if len(shown) > output_chars:
        shown = shown[:output_chars] + _CUT.format(len(shown) - output_chars)
    ended = _ending(execution, limits)
    if ended is not None:
        ended = unix(ended)[:output_chars]
        shown = f"{shown}\n{ended}" if shown else ended
    # A fence inside of the output would close the block that holds it.
    return shown.replace("```", "'''")


def _ending(execution: Execution, limits: Limits) -> str | None:
    match execution.verdict:
        case Verdict.OK:
            return None
        case Verdict.ERROR:
            last = execution.stderr.rstrip().rpartition("\n")[2]
            return last or f"The code exited with status {execution.exit_code}."
        case Verdict.TIMEOUT:
            return f"The code was stopped: it ran longer than {limits.wall_s:g} seconds."
        case Verdict.CPU_TIME:
            return f"The code was stopped: it used more than {limits.cpu_s:g} seconds of CPU time."
        case Verdict.MEMORY:
            return f"The code was stopped: it used more than {limits.memory_mb} MB of memory."
        case Verdict.OUTPUT:
            return f"The code was stopped: it printed more than {limits.output_bytes} bytes."
        case Verdict.KILLED:
            return f"The code was killed by signal {execution.signal}."


def zero_based(index: int | None, steps: int) -> int | None:
    """Convert a judge's index from 1-based to 0-based; -1 and None stay. Out of range: None."""
    if index is None or index == -1:
        return index
    return index - 1 if 1 <= index <= steps else None
