"""The judge's seats: each prompt with what it may see, and how its texts are read.

Invariant: pure; only `sight_of` reads a problem's answer or reference solution, and only for a
seat that sees it. A text of another form gives unreadable verdicts (None), never guessed ones.
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
from workflows.formats import judge_prompts as asked
from workflows.formats import reading
from workflows.formats.fences import unix
from workflows.formats.rationale import zero_based
from workflows.formats.templates import AS_THEY_ARE, Texts
from workflows.settings import JudgeSettings


@dataclass(frozen=True, slots=True)
class Opinion:
    """What can be read in one verification of T steps."""

    analyses: list[str]
    """T texts; "" where there is none."""
    verdicts: list[bool | None]
    """T values: True where the step is called right; None: unreadable."""
    index: int | None
    """0-based first error as it is named; -1: none; None: unreadable or not named."""


_LABELS = {"correct": True, "incorrect": False}
# A backslash that JSON doesn't know, or takes for a control character in front of a LaTeX command.
_RAW_BACKSLASH = re.compile(
    r'\\(?:[\\"/]|u[0-9a-fA-F]{4}|(?P<raw>(?:frac|forall|text|times|theta|tan|tau|to|tri|beta|binom|'
    r"bar|begin|big|right|rho|nu|ne|neq|neg|nabla|not)(?![a-z])|[^bfnrtu]|u)|[bfnrt])"
)


class Unjudged(StrEnum):
    """Why a path is not judged; closed."""

    RIGHT_ANSWER = "right_answer"
    """Its own answer is right (`stages.judge.paths`)."""
    NO_REFERENCE_SOLUTION = "no_reference_solution"
    """Its problem has no reference solution, which the judge is to see."""


def sight_of(problem: Problem, sees: str) -> asked.Sight:
    """What a seat that `sees` so much is shown. Raises ItemError `no_reference_solution`."""
    if sees == "answer":
        return asked.Sight(answer=problem.answer)
    if sees == "reference_solution":
        if not problem.reference_solution:
            raise ItemError(Unjudged.NO_REFERENCE_SOLUTION)
        return asked.Sight(reference_solution=problem.reference_solution)
    return asked.NOTHING


def read_paragraphs(text: str, steps: int) -> Opinion:
    """Verdicts under `### Paragraph k`, and the index under the final conclusion.

    A draft in a thought is not read. A paragraph that was opened again counts by its last complete
    verification; one that is missing, merged with another or without one verdict has none.
    """
    text = reading.behind_thought(unix(text))
    found = reading.sections(text)
    ends = [at for at, section in enumerate(found) if section.number is None]
    body = found[: ends[-1]] if ends else found
    analyses = [""] * steps
    verdicts: list[bool | None] = [None] * steps
    for section in body:
        step = (section.number or 0) - 1
        if 0 <= step < steps and not section.merged:
            analysis, verdict = _judged(text, section)
            if verdict is not None or verdicts[step] is None:
                analyses[step], verdicts[step] = analysis, verdict
    return Opinion(
        analyses, verdicts, _index(text[found[ends[-1]].start :], steps) if ends else None
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
    said = "".join(text[part.start : part.end] for part in behind if part.name == "output")
    return analysis, reading.verdict_in(said)


def _index(conclusion: str, steps: int) -> int | None:
    named = [reading.index_in(box) for box in reading.boxes(conclusion)]
    readable = [index for index in named if index is not None]
    return zero_based(readable[-1] if readable else None, steps)


def read_alignment(text: str, steps: int) -> Opinion:
    """Labels of a JSON list of aligned paragraphs; an object that can't be read grades nothing.

    A paragraph that is graded twice is not graded.
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
    """The JSON objects of a text, also of one that was cut off in the middle of a list.

    LaTeX in them may have bare backslashes, texts may have bare line ends.
    """
    text = _RAW_BACKSLASH.sub(lambda found: "\\" + found[0] if found["raw"] else found[0], text)
    decoder, at = json.JSONDecoder(strict=False), text.find("{")
    while at >= 0:
        try:
            found, end = decoder.raw_decode(text, at)
        except ValueError:
            end = at + 1
        else:
            yield found
        at = text.find("{", end)


AskFor = Callable[[str, Sequence[str], asked.Sight, Texts], Chat]
FORMS: Mapping[str, tuple[AskFor, Callable[[str, int], Opinion]]] = {
    "critique": (asked.critique_chat, read_paragraphs),
    "resolve": (asked.resolve_chat, read_paragraphs),
    "align": (asked.align_chat, read_alignment),
}
"""Prompt -> how it is asked, how its texts are read."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A prompt and a sight, for `workflows.stages.judge.Judge`."""

    prompt: str
    sees: str
    texts: Texts = field(default_factory=dict, compare=False)
    """Prompts that somebody wrote in the place of ours."""

    def chat(self, problem: Problem, steps: Sequence[str]) -> Chat:
        """What is asked of the seat."""
        sight = sight_of(problem, self.sees)
        return FORMS[self.prompt][0](problem.problem, steps, sight, self.texts)

    def read(self, text: str, steps: int) -> Opinion:
        """What the seat says."""
        return FORMS[self.prompt][1](text, steps)

    def critique_chat(self, problem: Problem, steps: Sequence[str], verification: str) -> Chat:
        """Asks for a critique of a verification, with the same sight."""
        sight = sight_of(problem, self.sees)
        return asked.meta_chat(problem.problem, steps, verification, sight, self.texts)

    def merge_chat(
        self, problem: Problem, steps: Sequence[str], verification: str, critique: str
    ) -> Chat:
        """Asks for the verification again."""
        sight = sight_of(problem, self.sees)
        text = problem.problem
        return asked.merge_chat(text, steps, verification, critique, sight, self.texts)


def repair_chat(
    sees: str, problem: Problem, prefix: Sequence[str], wrong: str, texts: Texts = AS_THEY_ARE
) -> Chat:
    """Asks for one step in the place of a wrong one."""
    return asked.repair_chat(problem.problem, prefix, wrong, sight_of(problem, sees), texts)


def panel(settings: JudgeSettings, texts: Texts = AS_THEY_ARE) -> tuple[Seat, ...]:
    """Every prompt with every sight. Raises ConfigurationError for a seat that can't be."""
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
