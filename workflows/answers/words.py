r"""Removes words around the value of an answer: `Answer: 12`, `7 \text{ (at } x=2)`.

Used only if the whole texts are unequal, so that words that are the answer are compared as such.

Invariant: words that change the value stay: a base, a modulus, a second value, an exception.
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
"""Words beside a value that change or deny it."""
_CONTINUES = (
    r"\b(?:mod(?:ulo)?|base|binary|ternary|octal|hexadecimal|or|and|if|otherwise|plus|minus"
    r"|times(?!\W*$)|inverse|factorial|to the (?:\w+ )?(?:power|second|third|fourth)"
    r"|with \w+ removed)\b"
)
"""Words that change a value only if they follow it: `the sum of x and y is 12` is 12."""
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
"""A condition: after a set it removes numbers, after a formula it is only a remark."""


def denies(text: str) -> bool:
    """Whether words deny or change the value beside them: `wrong`, `at most`, `twice`."""
    return _CHANGES.search(text) is not None


def changes(words: str) -> bool:
    """Whether words after a value change it: `or more`, `at most`, `(rejected)`."""
    return denies(words) or _FOLLOWS.search(words) is not None


@lru_cache(maxsize=8192)
def without_words(text: str) -> str:
    r"""A cleaned answer without remarks; the same text if there are none."""
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
        remark = pattern.search(bare)
        if remark is None or not re.search(r"\w", kept := bare[: remark.start()]):
            continue
        if not (_SET.search(kept) and _CONDITION.search(remark[0])):
            bare = kept
    return bare.strip().rstrip(".,;: ")


def _cut_before(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.match(text)
    return text[match.end() :].strip() if match else text
