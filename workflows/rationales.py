r"""What a written verification looks like: code blocks, code outputs, paragraphs, index votes.

A text is read only outside of its fenced blocks: a heading or a tag that some code printed is
output and nothing else.

Invariant: pure; a text of another form is an ItemError with one of `REASONS`; neither answers nor
labels are known here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from actors.engine import Chat
from actors.sandbox.contract import Execution, Limits, Verdict
from storage.errors import ItemError
from storage.records import Message
from workflows import prompts

REASONS = frozenset(
    {
        "paragraph_missing",
        "paragraph_merged",
        "paragraph_order",
        "part_missing",
        "part_repeated",
        "no_code",
    }
)
"""Why a rationale can't be read; closed."""

_FENCED = re.compile(r"^```[^\n]*\n.*?(?:^```[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(
    r"^#{1,6}[ \t]*Paragraphs?[ \t]+(\d{1,4})"
    r"(?P<more>[ \t]*(?:-|–|to|and|,|&)[ \t]*(?:Paragraph[ \t]+)?\d{1,4})?",
    re.MULTILINE | re.IGNORECASE,
)
_PART = re.compile(r"<(analyze|verify)>(.*?)</\1>", re.DOTALL)
_CUT = "\n[output cut: {} more characters]"


def paragraphs(text: str, steps: int) -> tuple[list[str], list[str]]:
    """Contents of `<analyze>` and of `<verify>` for paragraphs 1..`steps`, code included.

    Raises ItemError with a reason of `REASONS`.
    """
    plain = _FENCED.sub(lambda block: " " * len(block[0]), text)
    headings = list(_HEADING.finditer(plain))
    numbers: list[int] = []
    for heading in headings:
        if heading["more"]:
            raise ItemError("paragraph_merged", heading[0])
        numbers.append(int(heading[1]))
    if missing := sorted(set(range(1, steps + 1)) - set(numbers)):
        raise ItemError("paragraph_missing", f"paragraph {missing[0]} of {steps}")
    if numbers != list(range(1, steps + 1)):
        raise ItemError("paragraph_order", " ".join(map(str, numbers)))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    analyses, verifications = [], []
    for number, heading, end in zip(numbers, headings, ends, strict=True):
        analysis, verification = _parts(number, text, plain, heading.end(), end)
        analyses.append(analysis)
        verifications.append(verification)
    return analyses, verifications


def _parts(number: int, text: str, plain: str, start: int, end: int) -> tuple[str, str]:
    found = list(_PART.finditer(plain, start, end))
    names = [part[1] for part in found]
    if sorted(set(names)) != ["analyze", "verify"]:
        raise ItemError("part_missing", f"paragraph {number} has {' '.join(names) or 'no part'}")
    if names != ["analyze", "verify"]:
        raise ItemError("part_repeated", f"paragraph {number} has {' '.join(names)}")
    analysis, verification = (text[part.start(2) : part.end(2)].strip() for part in found)
    if not analysis:
        raise ItemError("part_missing", f"paragraph {number} has an empty analysis")
    if prompts.CODE_OPEN not in verification:
        raise ItemError("no_code", f"paragraph {number}")
    return analysis, verification


def code_at_end(written: str) -> str | None:
    """The Python block that `written` ends with; None where it ends with another fence."""
    if not written.endswith(prompts.CODE_CLOSE):
        return None
    opened = written.rfind(prompts.CODE_OPEN)
    if opened < 0:
        return None
    code = written[opened + len(prompts.CODE_OPEN) : -len(prompts.CODE_CLOSE)]
    return None if not code.strip() or re.search(r"^```", code, re.MULTILINE) else code


def printed(execution: Execution, limits: Limits, output_chars: int) -> str:
    """What the writer is told of a run: its output, and in plain words what ended it.

    An exception keeps what was printed before it and adds its `Type: message` line.
    """
    shown = execution.stdout.rstrip("\n")
    if len(shown) > output_chars:
        shown = shown[:output_chars] + _CUT.format(len(shown) - output_chars)
    ended = _ending(execution, limits)
    if ended is not None:
        ended = ended[:output_chars]
        shown = f"{shown}\n{ended}" if shown else ended
    # A fence inside of the output would close the block that holds it.
    return shown.replace("```", "'''")


def _ending(execution: Execution, limits: Limits) -> str | None:
    match execution.verdict:
        case Verdict.OK:
            return None
        case Verdict.ERROR:
            lines = execution.stderr.rstrip().splitlines()
            return lines[-1] if lines else f"The code exited with status {execution.exit_code}."
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


class PaperForm:
    """The paper's prompt and form, for `actors.rationale_writer.RationaleWriter`."""

    stops: tuple[str, ...] = prompts.RATIONALE_STOPS
    thinking_stop = prompts.THINK_CLOSE
    vote_stop = prompts.INDEX_STOP

    def __init__(self, output_chars: int, state_verdict: bool = False) -> None:
        self._output_chars = output_chars
        self._state_verdict = state_verdict

    def chat(self, problem: str, steps: Sequence[str]) -> Chat:
        """The rationale prompt; neither answer nor labels can be given to it."""
        asked = prompts.rationale_chat(problem, steps, self._state_verdict)
        messages = tuple(Message(turn["role"], turn["content"]) for turn in asked.messages())
        return Chat(messages, asked.prefill)

    def code(self, written: str) -> str | None:
        """See `code_at_end`."""
        return code_at_end(written)

    def step_of(self, text: str) -> int:
        """0-based number of the last heading, read outside of fenced blocks; 0 without one."""
        numbers = [int(heading[1]) for heading in _HEADING.finditer(_FENCED.sub("", text))]
        return max(0, numbers[-1] - 1) if numbers else 0

    def code_output(self, execution: Execution, limits: Limits) -> tuple[str, str]:
        """(what is fed back, the `[Code Output]` block)."""
        output = printed(execution, limits, self._output_chars)
        return output, prompts.code_output(output)

    def paragraphs(self, text: str, steps: int) -> tuple[list[str], list[str]]:
        """See `paragraphs`."""
        return paragraphs(text, steps)

    def conclude(self, text: str) -> str:
        """Cut at the last `</verify>`, with the fixed conclusion; `paragraphs` passed before."""
        return prompts.conclude(text)

    def vote(self, voted: str, steps: int) -> int | None:
        """The judge's 1-based index as 0-based; -1: no error; None: unreadable or out of range."""
        index = prompts.index_vote(voted)
        if index is None or index == -1:
            return index
        return index - 1 if 1 <= index <= steps else None
