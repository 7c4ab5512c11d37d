"""The rule for code in a verification: each block was run, each output is that of the block before.

The text is read as pieces: blocks of Python, and outputs. An output is a line that begins with
`[Code Output]`, with the block behind it. A block without that line is an output too if

- its mark says so (`output`, `console`), or the line before it ("It prints:")
- it is in a `<verify>`, behind an output, or behind code that was not run
- it has a line that looks like its end and is not.

A block that repeats the last output is no new output. A mention inside a sentence is prose.

Invariant: `violation` alone decides whether a text keeps this rule, for the writer, the consensus,
the export and the audit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from storage.rows.records import CodeRun, Example
from workflows.formats import prompts
from workflows.formats.fences import (
    Block,
    blocks,
    masked,
    odd_line_in_code,
    odd_line_in_prose,
    unix,
)
from workflows.formats.reading import last_tag

_LABEL = re.compile(
    r"^[ \t>*_#`+-]*\[[ \t]*code[ \t_-]*outputs?\b[^\]\n]*\]?", re.MULTILINE | re.IGNORECASE
)
_BARE_LABEL = re.compile(r"^[ \t]*\[[ \t]*code[ \t]+output\b.*", re.MULTILINE | re.IGNORECASE)
_CLAIMS_BY_MARK = re.compile(
    r"\b(?:output|out|stdout|stderr|console|terminal|results?|pycon|repl|session)\b", re.IGNORECASE
)
_PLAIN = re.compile(r"(?:text|txt|plaintext|plain|none)?", re.IGNORECASE)
_DISPLAY = re.compile(r"(?:latex|tex|math|markdown|md|katex)", re.IGNORECASE)
_CODE_LIKE = re.compile(r"^[ \t]*(?:print[ \t]*\(|import |from \w+ import |>>> |\$ )", re.MULTILINE)
_SAYS_OUTPUT = re.compile(r"\b(?:outputs?|prints?|printed|stdout)\b", re.IGNORECASE)
_NOTHING = re.compile(
    r"^[ \t>*_-]*nothing to compute[*_]*[ \t]*(?:[.,:;!(–—-]|$)", re.MULTILINE | re.IGNORECASE
)
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Piece:
    """A code block, or an output."""

    start: int
    end: int
    code: str | None = None
    """The code to run; None for an output."""
    output: str = ""
    """The text of an output."""
    labelled: bool = False
    """Whether it is an output of the project's own form: a label, then a block."""
    block_alone: bool = False
    """Whether it is an output without a label."""


def pieces(text: str) -> list[Piece]:
    """Find the code blocks and outputs of a text, in order; lines must end with newlines alone."""
    shown: list[Piece] = []
    of_label = {}
    plain = masked(text)
    fenced = blocks(text)
    for label in _LABEL.finditer(plain):
        piece, block = _labelled(text, plain, fenced, label)
        shown.append(piece)
        if block is not None:
            of_label[block.start] = piece
    before: Block | None = None
    for block in fenced:
        if block.start not in of_label:
            if block.is_code:
                shown.append(Piece(block.start, block.end, code=block.content))
            elif _claims(block, before, before is not None and before.start in of_label, plain):
                shown.append(Piece(block.start, block.end, output=block.content, block_alone=True))
        before = block
    return sorted(shown, key=lambda piece: piece.start)


def _labelled(
    text: str, plain: str, fenced: Sequence[Block], label: re.Match[str]
) -> tuple[Piece, Block | None]:
    """Return the output behind a label, and the block that belongs to it, if any."""
    line_end = plain.find("\n", label.end())
    line_end = len(plain) if line_end < 0 else line_end
    beside = text[label.end() : line_end].strip()
    block = next((block for block in fenced if block.start >= line_end), None)
    if block is None or plain[line_end : block.start].strip() or not _may_be_output(block):
        return Piece(label.start(), line_end, output=beside), None
    shown = f"{beside}\n{block.content}" if beside else block.content
    return Piece(label.start(), block.end, output=shown, labelled=not beside), block


def _may_be_output(block: Block) -> bool:
    return bool(_PLAIN.fullmatch(block.info) or _CLAIMS_BY_MARK.search(block.info))


def _claims(block: Block, before: Block | None, behind_output: bool, plain: str) -> bool:
    """Whether a block without a label of its own claims to be an output."""
    if _CLAIMS_BY_MARK.search(block.info) or _odd_line(block) is not None:
        return True
    if not block.closed or not _PLAIN.fullmatch(block.info):
        return False
    tag = last_tag(plain, block.start)
    if tag is not None and tag[0] == "verify":
        return True
    if tag is not None and before is not None and before.end <= tag[1]:
        before = None
    between = plain[before.end if before else 0 : block.start]
    lines = between.strip().split("\n")
    if _SAYS_OUTPUT.search(lines[-1]):
        return True
    if before is None or _DISPLAY.fullmatch(before.info):
        return False
    return behind_output or not lines[-1] or _not_run(before)


def _not_run(block: Block) -> bool:
    """Whether a block that is no display is code that is not run."""
    if block.is_code:
        return False
    if _PLAIN.fullmatch(block.info):
        return bool(_CODE_LIKE.search(block.content))
    return True


@dataclass(frozen=True, slots=True)
class Found:
    """The first place of a text where the model must stop: code to run, or an output of its own."""

    text: str
    """The text up to that place; it ends with the code block, or before the model's output."""
    code: str | None
    """The code to run now; None where the model wrote an output, or a block without an end."""


def first_found(text: str, ran: bool) -> Found | None:
    """Find the first code block to run, or the first output of the model's own.

    `ran`: the text begins with a block that was run, and its output. A block whose end is unclear
    counts as an output of the model's own.
    """
    all_pieces = pieces(text)
    last = all_pieces[1].output if ran else None
    for piece in all_pieces[2 if ran else 0 :]:
        if piece.code is not None and _odd(text, piece) is None:
            return Found(text[: piece.start] + prompts.code_block(piece.code), piece.code)
        if piece.code is not None or not _quotes(piece, last):
            return Found(text[: piece.start], None)
    return None


def _odd(text: str, piece: Piece) -> str | None:
    block = next(block for block in blocks(text) if block.start == piece.start)
    line = _odd_line(block)
    if line is None:
        return None
    return f"the code block has a line that looks like its end and is not: {_short(line)}"


def _odd_line(block: Block) -> str | None:
    """The first line of a block that looks as if the block had ended before it."""
    label = _BARE_LABEL.search(block.content)
    return odd_line_in_code(block) or (label[0] if label else None)


def _quotes(piece: Piece, last: str | None) -> bool:
    """Whether a block without a label repeats what the last execution printed."""
    return piece.block_alone and bool(last) and piece.output.strip() == (last or "").strip()


def violation(text: str, runs: Sequence[CodeRun]) -> str | None:
    """Describe the first unrun code or output of a text; None where it keeps the rule.

    `runs`: the executions of this text, in order. Executions whose block is not in it don't matter.
    """
    text = unix(text)
    waiting = iter(runs)
    last: CodeRun | None = None
    due: CodeRun | None = None
    at = 0
    for piece in pieces(text):
        if due is not None:
            if not _shows(piece, due) or text[at : piece.start].strip():
                return f"the code block {_short(due.code)} is not followed by its output"
            last, due = due, None
        elif piece.code is not None:
            if trouble := _odd(text, piece):
                return trouble
            due = _run_of(piece, waiting)
            if due is None:
                return f"the code block {_short(piece.code)} was not run"
        elif not _quotes(piece, unix(last.output) if last else None):
            return f"an output that no code printed: {_short(piece.output)}"
        at = piece.end
    if due is not None:
        return f"the code block {_short(due.code)} is not followed by its output"
    return _left_open(text)


def shown_unrun(example: Example) -> str | None:
    """Describe the first unrun code or output of an exported row, with its step; None: none.

    Always None for a row with `executed: false`, whose code was not run at all.
    """
    if not example.executed:
        return None
    turns = [turn for turn in example.conversations if turn.role == "assistant"]
    for step, turn in enumerate(turns):
        runs = [run for run in example.executions if run.step == step]
        if trouble := violation(turn.content, runs):
            return f"paragraph {step + 1}: {trouble}"
    return None


def shown_code(text: str) -> list[tuple[str, str]]:
    """(code, output behind it) of every code block of a text that keeps the rule."""
    shown = pieces(text)
    return [
        (piece.code, shown[at + 1].output if at + 1 < len(shown) else "")
        for at, piece in enumerate(shown)
        if piece.code is not None
    ]


def is_checked(verification: str, require_code: bool = True) -> bool:
    """Whether a verification has code; without `require_code`, `Nothing to compute.` will do."""
    if any(piece.code is not None for piece in pieces(verification)):
        return True
    return not require_code and _NOTHING.search(masked(verification)) is not None


def _run_of(piece: Piece, waiting: Iterator[CodeRun]) -> CodeRun | None:
    return next((run for run in waiting if unix(run.code) == piece.code), None)


def _shows(piece: Piece, run: CodeRun) -> bool:
    return piece.labelled and piece.output == unix(run.output).rstrip("\n")


def _left_open(text: str) -> str | None:
    """Describe a block that is never closed, or a line that looks like a fence; None: neither."""
    for block in blocks(text):
        if not block.closed:
            return f"the code block {_short(block.content)} is never closed"
    line = odd_line_in_prose(text)
    return (
        f"the code block at {_short(line)} is none, since its fence is no fence" if line else None
    )


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    return repr(one_line if len(one_line) <= _SHOWN else one_line[: _SHOWN - 1] + "…")
