r"""The text of an answer: its box in a solution, and one spelling for what LaTeX spells many ways.

Only boxed answers count, and the last `\boxed` decides: a box that is never closed means that the
text was cut, so there is no answer (no fallback to an earlier box or to the last number).

Invariant: cleaning never changes the mathematical meaning; `clean` is idempotent, and two texts
with the same `key` are the same answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_BOX = re.compile(r"\\boxed\s*\{")
_BOX_OR_BRACE = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def closing_brace(text: str, start: int) -> int | None:
    r"""Index of the brace that closes the group whose first character is `text[start]`.

    Escaped braces (`\{`, `\}`) do not count. None where the group is never closed.
    """
    depth = 1
    for match in _BRACE.finditer(text, start):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if depth == 0:
                return match.start()
    return None


@dataclass(frozen=True, slots=True)
class Box:
    r"""One closed `\boxed{...}`: where the command, its content and its closing brace begin."""

    start: int
    content: int
    end: int


def closed_boxes(text: str) -> list[Box]:
    """All closed boxes, inner ones before the box that holds them; one pass."""
    boxes: list[Box] = []
    opened: list[tuple[int, int] | None] = []
    for match in _BOX_OR_BRACE.finditer(text):
        if match[0] == "}":
            box = opened.pop() if opened else None
            if box is not None:
                boxes.append(Box(*box, match.start()))
        elif match[0] == "{":
            opened.append(None)
        elif match[0].endswith("{") and match[0] != "\\{":
            opened.append((match.start(), match.end()))
    return boxes


def open_boxes(text: str) -> str:
    """The text with the content of every closed box in its place, the boxes gone."""
    boxes = closed_boxes(text) if "box" in text else []
    if not boxes:
        return text
    cuts = [(box.start, box.content) for box in boxes]
    cuts += [(box.end, box.end + 1) for box in boxes]
    kept, at = [], 0
    for start, end in sorted(cuts):
        kept.append(text[at:start])
        at = end
    return "".join([*kept, text[at:]])


def last_box(text: str) -> str | None:
    r"""Content of the last `\boxed{...}`, stripped; None where there is none.

    None too where the last box is not closed (the text was cut) or empty. A box within a box
    belongs to the outer one, whose content is returned without the inner command. `\fbox` is no
    answer: models draw frames with it.
    """
    last = text.rfind("\\boxed")
    while last >= 0 and not _BOX.match(text, last):  # "\boxed5" has no box to close
        last = text.rfind("\\boxed", 0, last)
    holding = (
        [box for box in closed_boxes(text) if box.start <= last < box.end] if last >= 0 else []
    )
    if not any(box.start == last for box in holding):
        return None
    outermost = holding[-1]
    return open_boxes(text[outermost.content : outermost.end]).strip() or None


_SYMBOLS = str.maketrans(
    {
        "−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", "π": r"\pi ",
        "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "≤": r"\le ", "≥": r"\ge ",
        "≠": r"\ne ", "±": r"\pm ", "√": r"\sqrt ", "°": "^\\circ ", "\u00a0": " ", "\u2009": " ",
        "，": ",", "（": "(", "）": ")", "″": "''",
    }
)  # fmt: skip
_TEXT_COMMANDS = (
    r"\\(?:text|mbox|textnormal|textrm|textbf|textit|textup|texttt|textsf|mathrm|hbox|operatorname)"
)
_FONT_COMMANDS = r"\\(?:mathbf|boldsymbol|mathit|mathsf|mathtt|bm|displaystyle|textstyle|bf|rm)"
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\\\(?:\s*\[[^\]]*\])?", r"\\cr "),  # rows of a matrix
        (r"\\(?:phantom|hphantom|vphantom)\s*(?:\{[^{}]*\}|\\?.)", ""),
        (r"(?<=\d)(?:\{\s*,\s*\}|,\s*\\!)\s*(?=\d{3}(?!\d))", ""),  # 10{,}000, 10,\!000
        (r"\{\s*,\s*\}", ","),
        (r"\\!", ""),
        (r"\\(?:[,;: ]|quad(?![a-zA-Z])|qquad(?![a-zA-Z])|enspace(?![a-zA-Z]))|~", " "),
        (r"\\(?:left|right|[bB]ig{1,2}[lrm]?)(?![a-zA-Z])\s*\.?", ""),
        (r"\\[()\[\]]", ""),
        (_FONT_COMMANDS + r"(?![a-zA-Z])\s*", ""),
        (_TEXT_COMMANDS + r"\s*\{", r"\\text{"),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\[dt]binom(?![a-zA-Z])", r"\\binom"),
        (r"\\leq?(?:slant)?(?![a-zA-Z])", r"\\le "),
        (r"\\geq?(?:slant)?(?![a-zA-Z])", r"\\ge "),
        (r"\\neq?(?![a-zA-Z])", r"\\ne "),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"\\(?:cdot|times|ast)(?![a-zA-Z])", "*"),
        (r"\\div(?![a-zA-Z])", "/"),
        (r"\\l(?:brace|Brace)(?![a-zA-Z])", r"\\{"),
        (r"\\r(?:brace|Brace)(?![a-zA-Z])", r"\\}"),
        (r"\\[lr]?vert(?![a-zA-Z])", "|"),
        (r"\\(?:varnothing|emptyset)(?![a-zA-Z])", r"\\emptyset "),
        (r"\\colon(?![a-zA-Z])", ":"),
        (r"\\dots|\\ldots|\\cdots", "..."),
        (r"\\(?:%|percent(?![a-zA-Z]))", "%"),
        (r"\\?\$", ""),
        (r"\\degree(?![a-zA-Z])|\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![a-zA-Z])", "°"),
        (r"\s+", " "),
    )
)
_TRAILING = re.compile(r"(?:\s|(?<!\\)[.,;:]|\\cr)+$")
_GROUPED = re.compile(r"(?<![\d,.])(?<!\d )[1-9]\d{0,2}([, ])\d{3}(?:\1\d{3})*(?![\d,]| \d)")
_MIXED = re.compile(r"(?<![\d.}])(\d+) (\d+)/(\d+)")
_BRACKETED = re.compile(r"[(\[]|\\\{")


@lru_cache(maxsize=8192)
def clean(answer: str, grouping: bool = True) -> str:
    r"""One spelling of an answer: no math delimiters, no spacing or sizing commands.

    `\dfrac` and `\tfrac` become `\frac`; every text command `\text`; thousands separators outside
    of brackets vanish (`10{,}000`, `10,\!000` and `10,000` become `10000`); currency signs and a
    final full stop go. Units stay: they are compared (`split_unit`). `grouping=False` leaves the
    commas, the other reading of `100,200`.
    """
    text = answer.translate(_SYMBOLS)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = _TRAILING.sub("", text).strip()
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    if grouping and not _BRACKETED.search(text):
        text = _GROUPED.sub(lambda match: match[0].replace(match[1], ""), text)
    return text


_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_SPACE_OR_DOT = re.compile(r"(?<!\d)\s+|\s+(?!\d)|\.(?!\d)")
_LONE = re.compile(r"\{(\w)\}")
_LONG_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")


def without_text(text: str) -> str:
    r"""The text without its `\text{...}` commands, their contents kept."""
    return _TEXT.sub(r"\1", text)


@lru_cache(maxsize=8192)
def key(text: str) -> str:
    r"""What two equal texts have in common: no spaces, no text commands, words in lower case.

    A single letter keeps its case: `x` and `X` may be two variables.
    """
    bare = without_text(text)
    words = _LONG_WORD.search(bare) is not None
    bare = _SPACE_OR_DOT.sub("", bare)
    bare = _LONE.sub(r"\1", bare)  # in TeX, \sqrt{5} is \sqrt5
    return bare.casefold() if words else bare


_UNITS: dict[str, str] = {
    alias: name
    for name, aliases in {
        "degree": "° degree degrees deg",
        "cent": "cent cents ¢",
        "dollar": "dollar dollars usd",
        "euro": "euro euros €",
        "mm": "mm millimeter millimeters",
        "cm": "cm centimeter centimeters centimetre centimetres",
        "m": "m meter meters metre metres",
        "km": "km kilometer kilometers kilometre kilometres",
        "inch": "in inch inches",
        "foot": "ft foot feet",
        "yard": "yd yard yards",
        "mile": "mi mile miles",
        "acre": "acre acres",
        "second": "s sec secs second seconds",
        "minute": "min mins minute minutes",
        "hour": "h hr hrs hour hours",
        "day": "day days",
        "week": "week weeks",
        "month": "month months",
        "year": "yr yrs year years",
        "gram": "g gram grams",
        "kg": "kg kilogram kilograms",
        "ounce": "oz ounce ounces",
        "pound": "lb lbs pound pounds",
        "gallon": "gal gallon gallons",
        "liter": "l liter liters litre litres",
        "mph": "mph",
    }.items()
    for alias in aliases.split()
}
_MOST_CHARS = 200
_VAGUE = {"unit", "units", "per"}
_POWER_WORDS = {"square": "2", "squared": "2", "sq": "2", "cubic": "3", "cubed": "3", "cu": "3"}
_UNIT_TEXT = re.compile(
    r"^(?P<body>.*?)\s*"
    r"(?P<unit>(?:°|%|\s|\\text\{[^{}]*\}|(?<![\\a-zA-Z])[a-zA-Z]{1,12}\.?(?![a-zA-Z(]))+)"
    r"(?:\^\{?(?P<power>[23])\}?)?$",
    re.DOTALL,
)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_ANGLE_FUNCTION = re.compile(r"\\(?:sin|cos|tan|sec|csc|cot)")
_CONNECTIVE = re.compile(r"\b(?:or|and)\b")


@dataclass(frozen=True, slots=True)
class Quantity:
    """An answer without its unit: `18`, `degree`, no percent sign."""

    body: str
    unit: str | None
    """A known unit with its power, e.g. `cm^2`; None for no unit or one that says nothing."""
    percent: bool


@lru_cache(maxsize=8192)
def split_unit(text: str) -> Quantity:
    r"""A cleaned leaf without its unit; a text that is all words has none.

    Words in `\text` after a value are always a unit (`14\text{ right triangles}`); bare words only
    where all of them are known units (`2xy` is a product) or are words after a number (`5 apples`).
    """
    match = _UNIT_TEXT.match(text) if len(text) <= _MOST_CHARS else None
    if match is None or not (body := match["body"].strip()):
        return Quantity(text, None, False)
    raw = match["unit"]
    if "°" in raw and _ANGLE_FUNCTION.search(body):  # in \sin 30°, the degrees are the argument's
        return Quantity(text, None, False)
    if _CONNECTIVE.search(raw) or not re.search(r"[\d}\w)]$", body):
        return Quantity(text, None, False)
    marked = "\\text" in raw
    words = re.findall(r"[^\W\d_]+|°|¢", without_text(raw).replace("%", " ").casefold())
    power = match["power"]
    names: list[str] = []
    for word in words:
        if word in _POWER_WORDS:
            power = _POWER_WORDS[word]
        elif word in _UNITS:
            names.append(_UNITS[word])
        elif word not in _VAGUE:
            if not marked and not (len(word) > 3 and _NUMBER.fullmatch(body)):
                return Quantity(text, None, False)
            names.append("")
    bare_letter = not marked and any(len(word) == 1 and word.isalpha() for word in words)
    if bare_letter or (match["power"] and not words):
        return Quantity(text, None, False)
    known = "" not in names and len(names) == 1
    unit = (names[0] + (f"^{power}" if power else "")) if known else None
    return Quantity(body, unit, "%" in raw)
