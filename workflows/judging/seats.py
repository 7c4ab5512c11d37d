"""The judge's seats. A seat is a prompt, what it may see of the truth, and how its texts are read.

Invariant: only `sight_of` reads a problem's answer or reference solution, and only for a seat that
sees it. A text of another form gives unreadable verdicts (None), never guessed ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import Any

from actors.engines.contract import Chat
from storage.errors import ConfigurationError, ItemError
from storage.rows.records import Problem
from workflows.formats import judge_prompts, reading
from workflows.formats.fences import unix
from workflows.formats.rationale import zero_based
from workflows.formats.templates import AS_THEY_ARE, Texts
from workflows.settings import JudgeSettings


@dataclass(frozen=True, slots=True)
class Opinion:
    """The readable parts of a verification of T steps."""

    analyses: list[str]
    """T texts, empty for a step without one."""
    verdicts: list[bool | None]
    """T values: True if the step is called right; None: unreadable."""
    index: int | None
    """0-based index of the named first error; -1: no error; None: unreadable or not named."""


_LABELS = {"correct": True, "incorrect": False}
# A backslash before a LaTeX command that JSON rejects or takes for a control character.
_RAW_BACKSLASH = re.compile(
    r'\\(?:[\\"/]|u[0-9a-fA-F]{4}|(?P<raw>(?:frac|forall|text|times|theta|tan|tau|to|tri|beta|binom|'
    r"bar|begin|big|right|rho|nu|ne|neq|neg|nabla|not)(?![a-z])|[^bfnrtu]|u)|[bfnrt])"
)


class Unjudged(StrEnum):
    """All reasons why a path is not judged."""

    RIGHT_ANSWER = "right_answer"
    """Its own answer is right (`stages.judge.paths`)."""
    NO_REFERENCE_SOLUTION = "no_reference_solution"
    """Its problem has no reference solution, which the judge is to see."""


def sight_of(problem: Problem, sees: str) -> judge_prompts.Sight:
    """The part of the truth that a seat with `sees` is shown.

    Raises ItemError `no_reference_solution`.
    """
    if sees == "answer":
        return judge_prompts.Sight(answer=problem.answer)
    if sees == "reference_solution":
        if not problem.reference_solution:
            raise ItemError(Unjudged.NO_REFERENCE_SOLUTION)
        return judge_prompts.Sight(reference_solution=problem.reference_solution)
    return judge_prompts.NOTHING


def read_paragraphs(text: str, steps: int) -> Opinion:
    """Verdicts under `### Paragraph k`, and the index under the final conclusion.

    A thought before the text is skipped. Of a repeated paragraph the last complete verification
    counts. A paragraph that is missing, merged with another or without a clear verdict has None.
    """
    text = reading.behind_thought(unix(text))
    sections = reading.sections(text)
    ends = [at for at, section in enumerate(sections) if section.number is None]
    body = sections[: ends[-1]] if ends else sections
    analyses = [""] * steps
    verdicts: list[bool | None] = [None] * steps
    for section in body:
        step = (section.number or 0) - 1
        if 0 <= step < steps and not section.merged:
            analysis, verdict = _judged(text, section)
            if verdict is not None or verdicts[step] is None:
                analyses[step], verdicts[step] = analysis, verdict
    return Opinion(
        analyses, verdicts, _index(text[sections[ends[-1]].start :], steps) if ends else None
    )


def _judged(text: str, section: reading.Section) -> tuple[str, bool | None]:
    """The last analysis of a section and the verdict that follows it."""
    parts = section.named("analyze", "output")
    outputs = [at for at, part in enumerate(parts) if part.name == "output"]
    analysed = [
        at
        for at, part in enumerate(parts)
        if part.name == "analyze" and (not outputs or at < outputs[-1])
    ]
    analysis = reading.content(text, parts[analysed[-1]], section.number) if analysed else ""
    behind = parts[analysed[-1] + 1 :] if analysed else parts
    output = "".join(text[part.start : part.end] for part in behind if part.name == "output")
    return analysis, reading.verdict_in(output)


def _index(conclusion: str, steps: int) -> int | None:
    named = [reading.index_in(box) for box in reading.boxes(conclusion)]
    readable = [index for index in named if index is not None]
    return zero_based(readable[-1] if readable else None, steps)


def read_alignment(text: str, steps: int) -> Opinion:
    """Labels of a JSON list of aligned paragraphs. Unreadable objects are skipped.

    A paragraph that is graded twice has no verdict.
    """
    graded: dict[int, list[tuple[str, bool]]] = {}
    for entry in _objects(reading.behind_thought(text)):
        named = {name.strip().casefold(): value for name, value in entry.items()}
        number, label = named.get("paragraph"), _LABELS.get(_word(named.get("label")))
        if isinstance(number, bool) or label is None or not _word(number).isdecimal():
            continue
        explanation = str(named.get("explanation", "")).strip()
        graded.setdefault(int(_word(number)), []).append((explanation, label))
    rows = [graded.get(step + 1, []) for step in range(steps)]
    once = [row[0] if len(row) == 1 else ("", None) for row in rows]
    return Opinion([explanation for explanation, _ in once], [label for _, label in once], None)


def _word(value: object) -> str:
    return str(value).strip().casefold() if isinstance(value, str | int) else ""


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    """The JSON objects of a text, which may be cut off in the middle of a list.

    They may have bare LaTeX backslashes and bare line ends.
    """
    text = _RAW_BACKSLASH.sub(lambda match: "\\" + match[0] if match["raw"] else match[0], text)
    decoder, at = json.JSONDecoder(strict=False), text.find("{")
    while at >= 0:
        try:
            entry, end = decoder.raw_decode(text, at)
        except ValueError:
            end = at + 1
        else:
            yield entry
        at = text.find("{", end)


AskFor = Callable[[str, Sequence[str], judge_prompts.Sight, Texts], Chat]
FORMS: Mapping[str, tuple[AskFor, Callable[[str, int], Opinion]]] = {
    "critique": (judge_prompts.critique_chat, read_paragraphs),
    "resolve": (judge_prompts.resolve_chat, read_paragraphs),
    "align": (judge_prompts.align_chat, read_alignment),
}
"""Prompt -> (builder of its chat, reader of its texts)."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A prompt and what it sees of the truth, for `workflows.stages.judge.Judge`."""

    prompt: str
    sees: str
    texts: Texts = field(default_factory=dict, compare=False)
    """The user's texts of prompts, in place of ours."""

    def chat(self, problem: Problem, steps: Sequence[str]) -> Chat:
        """The chat that asks for a verification."""
        sight = sight_of(problem, self.sees)
        return FORMS[self.prompt][0](problem.problem, steps, sight, self.texts)

    def read(self, text: str, steps: int) -> Opinion:
        """The verdicts in a verification's text."""
        return FORMS[self.prompt][1](text, steps)

    def critique_chat(self, problem: Problem, steps: Sequence[str], verification: str) -> Chat:
        """The chat that asks for a critique of a verification; it sees the same of the truth."""
        sight = sight_of(problem, self.sees)
        return judge_prompts.meta_chat(problem.problem, steps, verification, sight, self.texts)

    def merge_chat(
        self, problem: Problem, steps: Sequence[str], verification: str, critique: str
    ) -> Chat:
        """The chat that asks for the verification again, given its critique."""
        sight = sight_of(problem, self.sees)
        text = problem.problem
        return judge_prompts.merge_chat(text, steps, verification, critique, sight, self.texts)


def repair_chat(
    sees: str, problem: Problem, prefix: Sequence[str], wrong: str, texts: Texts = AS_THEY_ARE
) -> Chat:
    """The chat that asks for a step in place of a wrong one."""
    return judge_prompts.repair_chat(problem.problem, prefix, wrong, sight_of(problem, sees), texts)


def panel(settings: JudgeSettings, texts: Texts = AS_THEY_ARE) -> tuple[Seat, ...]:
    """A seat for every prompt and every `sees`. Raises ConfigurationError for impossible ones."""
    seats = tuple(Seat(*pair, texts) for pair in product(settings.prompts, settings.sees))
    if not seats or len(set(seats)) < len(seats):
        raise ConfigurationError("`judge.prompts` and `judge.sees`: name each once, at least one")
    for seat in seats:
        if seat.prompt == "align" and seat.sees != "reference_solution":
            raise ConfigurationError(
                "`judge.prompts: align` needs `judge.sees: [reference_solution]` alone"
            )
        if seat.prompt != "critique" and settings.aggregator == "meta_critique":
            raise ConfigurationError(
                "`judge.aggregator: meta_critique` goes with `judge.prompts: [critique]`"
            )
        if seat.prompt == "align" and settings.verdicts == "index":
            raise ConfigurationError("`judge.prompts: align` names no index")
    return seats
