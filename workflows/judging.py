"""The judge's seats: each prompt with what it may see, and how its texts are read.

Invariant: pure; only `sight_of` reads a problem's answer or reference solution, and only for a
seat that sees it. A text of another form gives unreadable verdicts (None), never guessed ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from actors.engine import Chat
from actors.judge import Opinion
from storage.errors import ConfigurationError, ItemError
from storage.records import Message, Problem
from workflows import judge_prompts as asked
from workflows import prompts
from workflows.settings import JudgeSettings

_HEADING = re.compile(r"^#{1,6}[ \t]*Paragraph[ \t]+(\d{1,4})[ \t]*$", re.MULTILINE)
_END = re.compile(r"^#{1,6}[ \t]*Final Conclusion[ \t]*$", re.MULTILINE)
_ANALYSIS = re.compile(r"<analyze>(.*?)</analyze>", re.DOTALL)
_OUTPUT = re.compile(r"<output>(.*?)</output>", re.DOTALL)
_VERDICT = re.compile(r"\\boxed\{\s*(Yes|No)\s*\}")
_INDEX = re.compile(r"\\boxed\{\s*(-1|\d{1,3})\s*\}")
_LABELS = {"CORRECT": True, "INCORRECT": False}


def sight_of(problem: Problem, sees: str) -> asked.Sight:
    """What a seat that `sees` so much is shown. Raises ItemError `no_reference_solution`."""
    if sees == "answer":
        return asked.Sight(answer=problem.answer)
    if sees == "reference_solution":
        if not problem.reference_solution:
            raise ItemError("no_reference_solution")
        return asked.Sight(reference_solution=problem.reference_solution)
    return asked.NOTHING


def read_paragraphs(text: str, steps: int) -> Opinion:
    """Verdicts under `### Paragraph k`, and the index under the final conclusion.

    A paragraph that is missing, doubled or without exactly one verdict has none.
    """
    ends = list(_END.finditer(text))
    body = text[: ends[-1].start()] if ends else text
    headings = list(_HEADING.finditer(body))
    places = [heading.start() for heading in headings[1:]] + [len(body)]
    sections: dict[int, list[str]] = {}
    for heading, end in zip(headings, places, strict=False):  # no heading, one place
        sections.setdefault(int(heading[1]), []).append(body[heading.end() : end])
    analyses = [""] * steps
    verdicts: list[bool | None] = [None] * steps
    for step in range(steps):
        found = sections.get(step + 1, [])
        if len(found) == 1:
            analysis = _ANALYSIS.search(found[0])
            analyses[step] = analysis[1].strip() if analysis else ""
            outputs = _OUTPUT.findall(found[0])
            boxes = _VERDICT.findall(outputs[0]) if len(outputs) == 1 else []
            verdicts[step] = boxes[0] == "Yes" if len(boxes) == 1 else None
    return Opinion(analyses, verdicts, _index(text[ends[-1].end() :], steps) if ends else None)


def _index(conclusion: str, steps: int) -> int | None:
    named = _INDEX.findall(conclusion)
    if not named:
        return None
    index = int(named[-1])
    return -1 if index == -1 else index - 1 if 1 <= index <= steps else None


def read_alignment(text: str, steps: int) -> Opinion:
    """Labels of a JSON list of aligned paragraphs; an object that can't be read grades nothing.

    A paragraph that is graded twice is not graded.
    """
    graded: dict[int, list[Mapping[str, Any]]] = {}
    for entry in _objects(text):
        number = entry.get("paragraph")
        if isinstance(number, int) and entry.get("label") in _LABELS:
            graded.setdefault(number, []).append(entry)
    once = {number: found[0] for number, found in graded.items() if len(found) == 1}
    rows = [once.get(step + 1, {}) for step in range(steps)]
    return Opinion(
        [str(row.get("explanation", "")).strip() for row in rows],
        [_LABELS.get(str(row.get("label"))) for row in rows],
        None,
    )


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    """The JSON objects of a text, also of one that was cut off in the middle of a list."""
    decoder, at = json.JSONDecoder(), text.find("{")
    while at >= 0:
        try:
            found, end = decoder.raw_decode(text, at)
        except ValueError:
            end = at + 1
        else:
            yield found
        at = text.find("{", end)


AskFor = Callable[[str, Sequence[str], asked.Sight], prompts.Chat]
FORMS: Mapping[str, tuple[AskFor, Callable[[str, int], Opinion]]] = {
    "critique": (asked.critique_chat, read_paragraphs),
    "resolve": (asked.resolve_chat, read_paragraphs),
    "align": (asked.align_chat, read_alignment),
}
"""Prompt -> how it is asked, how its texts are read."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A prompt and a sight, for `actors.judge.Judge`."""

    prompt: str
    sees: str

    def chat(self, problem: Problem, steps: Sequence[str]) -> Chat:
        """What is asked of the seat."""
        return _chat(FORMS[self.prompt][0](problem.problem, steps, sight_of(problem, self.sees)))

    def read(self, text: str, steps: int) -> Opinion:
        """What the seat says."""
        return FORMS[self.prompt][1](text, steps)

    def critique_chat(self, problem: Problem, steps: Sequence[str], verification: str) -> Chat:
        """Asks for a critique of a verification, with the same sight."""
        sight = sight_of(problem, self.sees)
        return _chat(asked.meta_chat(problem.problem, steps, verification, sight))

    def merge_chat(
        self, problem: Problem, steps: Sequence[str], verification: str, critique: str
    ) -> Chat:
        """Asks for the verification again."""
        sight = sight_of(problem, self.sees)
        return _chat(asked.merge_chat(problem.problem, steps, verification, critique, sight))


def repair_chat(sees: str, problem: Problem, prefix: Sequence[str], wrong: str) -> Chat:
    """Asks for one step in the place of a wrong one."""
    return _chat(asked.repair_chat(problem.problem, prefix, wrong, sight_of(problem, sees)))


def _chat(of: prompts.Chat) -> Chat:
    turns = tuple(Message(turn["role"], turn["content"]) for turn in of.messages())
    return Chat(turns, of.prefill)


def panel(settings: JudgeSettings) -> tuple[Seat, ...]:
    """Every prompt with every sight. Raises ConfigurationError for a seat that can't be."""
    seats = tuple(Seat(*pair) for pair in product(settings.prompts, settings.sees))
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
