r"""The text of an answer: a single spelling for LaTeX's many.

Invariant: cleaning never changes the mathematical meaning. `clean` is idempotent except on broken
texts. Two texts with the same `key` are the same answer.
"""

from __future__ import annotations

import re
from functools import lru_cache

from workflows.answers.boxes import open_boxes
from workflows.answers.notation import FUNCTIONS, from_program, from_unicode

NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
         "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
         "nineteen", "twenty")
    )
}  # fmt: skip
_TEXT_COMMANDS = (
    r"\\(?:text|mbox|textnormal|textrm|textbf|textit|textup|texttt|textsf|mathrm|hbox|operatorname)"
)
_COMMANDS: dict[str, str] = {
    name: meaning
    for meaning, names in {
        r"\frac": "dfrac tfrac cfrac",
        r"\binom": "dbinom tbinom",
        r"\le ": "le leq leqslant leslant",
        r"\ge ": "ge geq geqslant geslant",
        r"\ne ": "ne neq",
        r"\mathbb": "Bbb",
        r"\mathbb{R}": "R reals Reals",
        r"\mathbb{Z}": "Z",
        r"\emptyset ": "varnothing emptyset",
        r"\{": "lbrace lBrace",
        r"\}": "rbrace rBrace",
        "<": "lt",
        ">": "gt",
        "*": "cdot times ast",
        "/": "div",
        "|": "vert lvert rvert",
        ":": "colon",
        "...": "dots ldots cdots dotsc dotsb",
        "%": "percent",
        "°": "degree textdegree",
        "£": "pounds textsterling",
        "€": "euro texteuro",
        " ": "quad qquad enspace",
        "": "mathbf boldsymbol mathit mathsf mathtt bm displaystyle textstyle bf rm underline tiny "
        "small normalsize large Large LARGE huge Huge",
    }.items()
    for name in names.split()
}
_COMMAND = re.compile(r"\\([a-zA-Z]+)")
_RULES: tuple[tuple[str, re.Pattern[str], str], ...] = tuple(
    (sign, re.compile(pattern), replacement)
    for sign, pattern, replacement in (
        ("\\\\", r"\\\\(?:\s*\[[^\]]*\])?", r"\\cr "),  # rows of a matrix
        ("phantom", r"\\(?:phantom|hphantom|vphantom)\s*(?:\{[^{}]*\}|\\?.)", ""),
        (",", r"(?<=\d)(?:\{\s*,\s*\}|,\s*\\!)\s*(?=\d{3}(?!\d))", ""),  # 10{,}000, 10,\!000
        ("{", r"\{\s*,\s*\}", ","),
        ("\\!", r"\\!", ""),
        ("~", "~", " "),
        ("\\", r"\\[,;: ]", " "),
        ("\\", r"\\(?:left|right|[bB]ig{1,2}[lrm]?)(?![a-zA-Z])\s*\.?", ""),
        ("\\", r"\\[()\[\]]", ""),
        ("\\prime", r"\^\s*(?:\{\s*)?\\prime(?:\s*\})?", "'"),
        ("color", r"\\(?:text)?color\s*\{[^{}]*\}", ""),
        ("\\", r"\\(?:checkmark|blacksquare|square|qed)(?![a-zA-Z])\s*$", ""),
        ("'", r"^\s*(?:``|')\s*(.*?)\s*(?:''|')\s*$", r"\1"),
        ('"', r"^\s*\"\s*(.*?)\s*\"\s*$", r"\1"),
        ("\\&", r"\\&", r"\\text{ and }"),
        (")", r"^\s*([A-J])\)\s*$", r"\1"),
        ("to", r"^\s*(\d+)\s*(?:\\text\s*\{\s*)?to(?:\s*\})?\s*(\d+)\s*$", r"\1:\2"),
        ("\\not", r"\\not\s*(?:=|\\eq(?![a-zA-Z]))", r"\\ne "),
        ("_", r"_\{?\((\d{1,2})\)\}?", r"_{\1}"),
        ("_", r"^\s*\(([0-9A-Z]+)\)\s*_(?=\{?\d)", r"\1_"),
        ("\\dot", r"\.(\d*)\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?", r".\1\\overline{\2\3\4}"),
        ("\\dot", r"\.(\d*)\\dot\s*\{?(\d)\}?", r".\1\\overline{\2}"),
        ("\\", _TEXT_COMMANDS + r"\s*\{", r"\\text{"),
        ("\\text", r"\\text\{\s*([ie])\s*\}", r" \1 "),
        ("...", r"\.(\d*?)(\d)\2{2,}\s*\.\.\.\s*$", r".\1\\overline{\2}"),
        ("\\frac", r"\\frac\s*(\d)\s*(\d)(?=\d)", r"\\frac{\1}{\2}"),
        ("\\%", r"\\%", "%"),
        ("$", r"(?<!\\)\$", ""),
        ("\\text", rf"\\text\{{\s*({'|'.join(FUNCTIONS)})\s*\}}", r"\\\1 "),
        ("\\circ", r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![a-zA-Z])", "°"),
        (".", r"(?<![a-zA-Z])([apAP])\.\s?[mM]\.?(?![a-zA-Z])", r"\1m"),
        ("\\text", r"^\\text\{\s*([-+]?\d[\d.,]*)\s+([A-Za-z][^{}\d]*)\}\s*$", r"\1\\text{ \2}"),
        ("°", r"(?:\\text\{\s*)?°\s*(?:\\text\{\s*)?([CF])\s*\}?\s*$", r"\\text{ °\1}"),
    )
)
"""(substring that a text must contain, pattern to search, replacement)."""
_PLAIN = re.compile(r"-?(?:0|[1-9]\d{0,2}|\d*\.\d+|[1-9]\d*)")
_SPACES = re.compile(r"\s+")
_BASE_WORDS = "|".join(NUMBER_WORDS)
_BASE = re.compile(
    rf"_\{{?\s*\\text\{{\s*(?:base )?\s*(?:\}}\s*)?(?P<low>\d+|{_BASE_WORDS})\s*\}}?\s*\}}?$"
    r"|\s*\(?\s*(?:\\text\{)?\s*\(?(?:in )?base[- ]+(?:\}\s*)?"
    rf"(?P<said>\d+|{_BASE_WORDS})\s*\}}?\s*\)?\s*\}}?$"
)
_LONE_DOLLAR = re.compile(r"(?<!\\)\$(?=\s*[\d.])")
_TRAILING = re.compile(r"(?:\s|(?<!\\)[,;:]|(?<![\\.])\.{1,2}(?!\.)|\\cr)+$")
_GROUPED = re.compile(r"(?<![\d,.])(?<!\d )[1-9]\d{0,2}([, ])\d{3}(?:\1\d{3})*(?![\d,]| \d)")
_MIXED = re.compile(r"(?<![\d.}])(\d+) (\d+)/(\d+)")
_BRACKETED = re.compile(r"[(\[]|\\\{")


@lru_cache(maxsize=8192)
def clean(answer: str, grouping: bool = True) -> str:
    r"""The normal spelling of an answer: no math delimiters, no spacing or sizing commands.

    `\dfrac` and `\tfrac` become `\frac`, every text command becomes `\text`. A final full stop is
    removed, and so are thousands separators outside of brackets: `10{,}000`, `10,\!000` and
    `10,000` become `10000`. Units and currencies stay, since they are compared (`split_unit`).
    `grouping=False` keeps the commas, for the reading of `100,200` as a list.
    """
    if _PLAIN.fullmatch(answer):
        return answer
    text = from_unicode(open_boxes(answer))
    if text.count("$") - text.count("\\$") == 1:  # money: mathematics has a `$` at both ends
        text = _LONE_DOLLAR.sub(r"\\$", text)
    if "\\" in text:
        text = _COMMAND.sub(lambda match: _COMMANDS.get(match[1], match[0]), text)
    for sign, pattern, replacement in _RULES:
        if sign in text:
            text = pattern.sub(replacement, text)
    text = _TRAILING.sub("", text)  # a full stop is no decimal point of what stands before it
    text = _SPACES.sub(" ", from_program(text))
    text = _TRAILING.sub("", text).strip()
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    text = _BASE.sub(_in_base, text)
    if grouping and not _BRACKETED.search(text):
        text = _GROUPED.sub(lambda match: match[0].replace(match[1], ""), text)
    return text


def _in_base(match: re.Match[str]) -> str:
    base = match["low"] or match["said"]
    return f"_{{{NUMBER_WORDS.get(base, base)}}}"


_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_SPACE_OR_DOT = re.compile(r"(?<!\d)\s+|\s+(?!\d)|(?<!\.)\.{1,2}(?![\d.])")
_LONE = re.compile(r"\{(\w)\}")
_LONG_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")


def without_text(text: str) -> str:
    r"""The text with every `\text{...}` replaced by its content."""
    return _TEXT.sub(r"\1", text)


@lru_cache(maxsize=8192)
def key(text: str) -> str:
    r"""A key that is the same for equal texts: no spaces, no text commands, words in lower case.

    A single letter keeps its case: `x` and `X` may be two variables.
    """
    bare = without_text(text)
    words = _LONG_WORD.search(bare) is not None
    bare = _SPACE_OR_DOT.sub("", bare)
    bare = _LONE.sub(r"\1", bare)  # \sqrt{5} and \sqrt5 are the same in TeX
    return bare.casefold() if words else bare
