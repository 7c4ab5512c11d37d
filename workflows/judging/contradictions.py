"""Analyses that contradict the label of their step, and code whose result does.

What a text says of its step is its last sentence that calls the step right or wrong, and is about
this paragraph, no question and no announcement ("Let me check whether it is right"). What code says
is the last word that it prints, True or False (`workflows.judging.tools`).

Invariant: pure, and by words alone: a text without such a sentence, like code without such a word,
says nothing and contradicts nothing. docs/measured.md has its precision and recall.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from storage.rows.records import Rationale
from workflows.formats.fences import masked
from workflows.judging.tools import tool_verdicts

ANALYSIS, CODE = "analysis", "code"
"""What contradicts a label."""
_SENTENCE = re.compile(r"(?<=[.!?])[\s)*]+|\n+")
_OPENING = re.compile(
    r"\s*(?:(?:okay|ok|alright|so|now|first|then|hmm|wait|well|but|and)\b[\s,.]*)*"
    r"(?:let me|let's|let us|i'll|i will|i can|to (?:verify|check|confirm|be sure)|if\b|"
    r"(?:check|see|test|make sure|double[- ]check)\b)",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(
    r"(?:(?:errors?|mistakes?|slip|wrong \w+) (?:in|of|from|made in) )?"
    r"(?:paragraphs?|steps?)\s+(?P<number>\d{1,3})(?:\s+(?:is|was|are)\s+\w+)?",
    re.IGNORECASE,
)
_PROBLEM = r"(?<!the )(?<!this )(?<!given )(?<!original )problems?"  # not the one that is solved
_FAULT = rf"(?:errors?|mistakes?|slips?|wrong|incorrect|false|{_PROBLEM}|issues?|faults?|flaws?)"
_PRAISE = (
    r"(?:correct|right|true|valid|accurate|hold|match|agree|equal|follow|fit|work|the same|"
    r"consistent|divide)"
)
_NO_FAULT = rf"(?:\bno|\bnot|n't|\bnothing|\bwithout|\bnever)(?: \w+){{0,3}}? {_FAULT}\b"
_NO_PRAISE = rf"(?:\bnot|n't|\bneither)(?: \w+){{0,2}}? {_PRAISE}\w*"
_WRONG = (
    rf"\b{_FAULT}\b|\b(?:invalid|inaccurate|erroneous|mistaken|contradicts?|disagrees?|fails|"
    r"should have (?:been|taken|given|said)|instead of|unjustified|follows the error)\b"
    r"|\b(?:and |but )?not \$?-?\d|\bmust not\b"
)
_RIGHT = (
    r"\bcorrect(?:ly)?\b|\bright\b(?![- ](?:hand|side|angle|triangle))"
    r"|\btrue\b(?! (?:value|answer))"
    r"|\b(?:valid|accurate|fine|holds|agrees?|match(?:es)?|good|great|sound|consistent|confirm(?:s|ed)?"
    r"|checks out|as it should|as they should|it does|same thing)\b"
)
_VERDICT = re.compile(
    rf"(?P<kind1>{_NO_FAULT})|(?P<kind0>{_NO_PRAISE}|{_WRONG})|(?P<kind2>{_RIGHT})", re.IGNORECASE
)


def said(analysis: str, verification: str, number: int) -> bool | None:
    """The verdict of a text on its own paragraph `number`, from 1; None: it gives none.

    >>> said("Then 3 + 4 = 8. Wait, that is not right.", "", 2)
    False
    >>> said("Let me check whether this is correct.", "", 2) is None
    True
    """
    verdict = None
    for text in (analysis, _prose(verification)):
        for sentence in filter(None, map(str.strip, _SENTENCE.split(text))):
            found = _of_sentence(sentence, number)
            verdict = found if found is not None else verdict
    return verdict


def _prose(verification: str) -> str:
    """A verification without its code and what that printed."""
    return masked(verification).replace("[Code Output]", "")


def _of_sentence(sentence: str, number: int) -> bool | None:
    if sentence.endswith("?") or _OPENING.match(sentence):
        return None
    own = _ELSEWHERE.sub(lambda named: "" if int(named["number"]) != number else named[0], sentence)
    last = None
    for match in _VERDICT.finditer(own):
        last = match["kind0"] is None
    return last


def contradictions(written: Rationale, labels: Sequence[bool]) -> list[str]:
    """For each label, what contradicts it: "", `analysis`, `code`, or both with a comma."""
    by_code = tool_verdicts(written.executions, len(labels))
    found = []
    for step, right in enumerate(labels):
        text = said(written.analyses[step], written.verifications[step], step + 1)
        told = ((ANALYSIS, text), (CODE, by_code[step]))
        found.append(", ".join(name for name, verdict in told if verdict not in (None, right)))
    return found


def first_contradicted(against: Sequence[str]) -> int:
    """0-based index of the first contradicted step; their number if there is none."""
    return next((step for step, by in enumerate(against) if by), len(against))
