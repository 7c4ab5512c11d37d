r"""Words around the value of an answer: `Answer: 12`, `7 \text{ (at } x=2)`.

Tried only where the whole texts are not equal, so that words that are the answer stay one.

Invariant: what changes a value is no remark: other bases, a modulus, a second value, an exception.
"""

from __future__ import annotations

import re
from functools import lru_cache

_WORD = re.compile(r"\\text|\\in(?![a-z])|(?<![\\a-zA-Z])[a-zA-Z]{2}")
_DENIES = (
    r"not|[a-z]*n['’]t|cannot|never|neither|nor|no(?!\.? of| units?| remainder)|wrong"
    r"|incorrect(?:ly)?|false|invalid|reject(?:ed)?|discard(?:ed)?|extraneous|impossible"
    r"|inadmissible|unacceptable|fail(?:s|ed)?|ignored?|excluded?|excluding|except|unless|instead|too|actually"
    r"|wait|correct(?:ion|ed)|revised|rather|should|contradict(?:s|ion)|absurd|mistaken?"
    r"|(?:crossed|ruled|struck|thrown) out|forbidden|prohibited"
    r"|(?:original|previous|initial|first|old|earlier) (?:answer|guess|result|solution|attempt)"
)
_BOUNDS = (
    r"at (?:the )?(?:most|least|minimum|maximum)|up to|exceed(?:s|ing)?|almost|nearly|between"
    r"|(?:low|upp)er (?:bound|limit)|(?:less|more|other|rather|[a-z]+er) than"
)
_COMPUTES = (
    r"twice|thrice|double[ds]?(?! root)|tripled?|half(?!-)|halved"
    r"|(?:minus|plus|times|[a-z]+ of) (?:the|our|my|this|that) (?:final |correct )?"
    r"(?:answer|ans|result|solution)"
    r"|(?:answer|result|solution) (?:plus|minus|times|squared|cubed|divided|over)"
    r"|(?:answer|result|solution)(?=\}?\s*[-+*/^])"
)
_CHANGES = re.compile(
    rf"(?<![\\a-zA-Z])(?:{_DENIES}|{_BOUNDS}|{_COMPUTES})(?![a-zA-Z])", re.IGNORECASE
)
"""What makes another value of the one that stands beside it, or none."""
_CONTINUES = (
    r"\b(?:mod(?:ulo)?|base|binary|ternary|octal|hexadecimal|or|and|if|otherwise|plus|minus"
    r"|times(?!\W*$)|inverse|factorial|to the (?:\w+ )?(?:power|second|third|fourth)"
    r"|with \w+ removed)\b"
)
"""What does so behind a value, and may well stand before one: the sum of x and y is 12."""
_KEPT = rf"(?!.*{_CONTINUES})"
_FOLLOWS = re.compile(_CONTINUES, re.IGNORECASE)
_SAYS = r"(?:is|are|was|equals?|equal to|be|gives|costs?|has|have|gets?)"
_OPENS = r"(?:at|when|where|for|since|because|as|the|only|approx|approximately|about|in)"
_LABEL = re.compile(
    rf"(?:so|thus|hence|therefore)?,?\s*(?:the|our|my)?\s*(?:final|correct|required|numerical)?\s*"
    rf"(?:answer|ans|result|solution|value|total)s?\s*(?:{_SAYS}\s*:?|[:=])\s*(?!{_SAYS}\b)(?=\S)",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"(?:option|choice|answer)\s*:?\s*(?=\(?[A-J]\)?\s*$)", re.IGNORECASE)
_SAID = re.compile(rf"\\text\{{[^{{}}\d]*?(?:\b{_SAYS}|[:=])\s*\}}\s*(?=\S)")
_SENTENCE = re.compile(rf"(?:[A-Za-z']+\s+){{1,8}}{_SAYS}\s+(?=[-+\d\\(.])")
_IN_BRACKETS = re.compile(
    rf"(?<=\S)\s*(?:(?<=\s)\(\s*\\text\{{{_KEPT}[^{{}}]*\}}[^()]*\)"
    rf"|\\text\{{\s*\({_KEPT}[^{{}}]*\}}[^()]*\)(?:\s*\}})?"
    rf"|\\text\{{\s*\({_KEPT}[^{{}}]*\)\s*\}}"
    rf"|(?<=\s)\({_KEPT}(?:{_OPENS}\.?\s+(?![-+*/^=<>])[^()]*"
    r"|[A-Za-z]{6,}|[A-Za-z']+(?: [A-Za-z']+)* [A-Za-z']{4,}(?: [A-Za-z']+)*)\))\s*$"
)
_LEADING = re.compile(r"^\s*[:=]\s*")
_MEMBER = re.compile(r"(?<=\S)\s*[,(]\s*[a-zA-Z]\s*\\in\s*\\mathbb\s*\{?[NZQRC]\}?(?:\^\+)?\)?$")
_CLAUSE = re.compile(
    r"(?<=\S)\s*,?\s*(?:\\text\{\s*,?\s*|(?<=\s))"
    r"(?:(?:where|at|when|as (?:required|desired|needed)|only|is the answer"
    rf"|for (?:all|any|every|some|integers?))\b|for \}}){_KEPT}[^,;]*$"
)

_SET = re.compile(r"[<>]|\\(?:le|ge|ne|cup|mathbb|infty)(?![a-zA-Z])|^[(\[].*,.*[)\]]$")
_CONDITION = re.compile(
    r"[<>]|\\(?:le|ge|ne)(?![a-zA-Z])|\\mathbb\s*\{?[NZQC]|integ|natural|whole|rational|prime|even"
    r"|odd|positive|negative"
)
"""What takes numbers out of a set, and only says which ones a formula is for."""


def denies(text: str) -> bool:
    """Whether a text says that its value is not the answer: `wrong`, `at most`, `twice`."""
    return _CHANGES.search(text) is not None


def changes(words: str) -> bool:
    """Whether words behind a value make another one of it: `or more`, `at most`, `(rejected)`."""
    return denies(words) or _FOLLOWS.search(words) is not None


@lru_cache(maxsize=8192)
def without_words(text: str) -> str:
    r"""A cleaned answer without what is said about it; the same text where nothing is."""
    if not _WORD.search(text) and text[:1] not in ":=":
        return text
    if denies(text):
        return text
    spoken = re.fullmatch(r"\\text\{([^{}]*)\}", text)
    bare = spoken[1].strip() if spoken else text
    bare = _LEADING.sub("", bare)
    for pattern in (_LABEL, _CHOICE, _SENTENCE):
        bare = _cut_before(pattern, bare)
    if spoken and bare == spoken[1].strip():
        return text
    inner = re.match(r"\\text\{\s*", bare)
    if (
        inner
        and (label := _LABEL.match(bare, inner.end()))
        and (end := bare.find("}", label.end() - 1)) >= 0
    ):
        bare = bare[label.end() : end] + bare[end + 1 :]
    bare = _cut_before(_SAID, bare)
    for pattern in (_IN_BRACKETS, _CLAUSE, _MEMBER):
        found = pattern.search(bare)
        if found is None or not re.search(r"\w", kept := bare[: found.start()]):
            continue
        if not (_SET.search(kept) and _CONDITION.search(found[0])):
            bare = kept
    return bare.strip().rstrip(".,;: ")


def _cut_before(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.match(text)
    return text[found.end() :].strip() if found else text
