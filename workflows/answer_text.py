r"""The text of an answer: its box in a solution, and one spelling for what LaTeX spells many ways.

Only boxed answers count, and the last `\boxed` decides, with the boxes that it is listed with: a
box that is never closed means that the text was cut, so there is no answer (no fallback to an
earlier box or to the last number).

Invariant: cleaning never changes the mathematical meaning; `clean` is idempotent but for broken
texts, and two texts with the same `key` are the same answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from workflows.answer_notation import FUNCTIONS, from_program, from_unicode

_BOX = re.compile(r"\\boxed\s*\{")
_BOX_OR_BRACE = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_LONGEST_JOINT = 60


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


_MARK = r"[\s$~]|\\[()\[\],;: ]|\\q?quad(?![a-zA-Z])"
_AND = r"\\(?:text|mbox|textrm)\s*\{\s*,?\s*(?:and|or)\s*\}|and|or"
_BOX_NAME = rf"(?P<name>[a-zA-Z](?:_\{{?\w+\}}?)?\s*=)(?:{_MARK})*"
_JOINED = re.compile(rf"(?:{_MARK})*(?:[,/]|{_AND})(?:{_MARK}|[,/]|{_AND})*(?:{_BOX_NAME})?")
_NAMED = re.compile(_BOX_NAME + "$")


def final_boxes(text: str) -> list[str]:
    r"""The boxes that are the answer, in order: the last, and those that it is listed with.

    Boxes are listed where nothing but a comma, a slash, *and* or *or* joins them, each with its
    `x =` before it; after other words the later one supersedes. Empty where `last_box` is None.
    """
    last = last_box(text)
    if last is None:
        return []
    outer: list[Box] = []
    for box in sorted(closed_boxes(text), key=lambda box: box.start):
        if not outer or box.start > outer[-1].end:
            outer.append(box)
    listed = [last]
    for before, box in zip(reversed(outer[:-1]), reversed(outer[1:]), strict=True):
        joint = text[before.end + 1 : box.start]
        match = _JOINED.fullmatch(joint) if len(joint) < _LONGEST_JOINT else None
        content = open_boxes(text[before.content : before.end]).strip()
        if match is None or not content:
            break
        listed[0] = (match["name"] or "") + listed[0]
        listed.insert(0, content)
    if len(listed) > 1:
        first = outer[-len(listed)].start
        named = _NAMED.search(text[max(0, first - _LONGEST_JOINT) : first])
        listed[0] = (named["name"] if named else "") + listed[0]
    return listed


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
        ("...", r"\.(\d*?)(\d)\2{2,}\s*\.\.\.\s*$", r".\1\\overline{\2}"),
        ("\\%", r"\\%", "%"),
        ("$", r"(?<!\\)\$", ""),
        ("\\text", rf"\\text\{{\s*({'|'.join(FUNCTIONS)})\s*\}}", r"\\\1 "),
        ("\\circ", r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![a-zA-Z])", "°"),
        (".", r"(?<![a-zA-Z])([apAP])\.\s?[mM]\.?(?![a-zA-Z])", r"\1m"),
        ("\\text", r"^\\text\{\s*([-+]?\d[\d.,]*)\s+([A-Za-z][^{}\d]*)\}\s*$", r"\1\\text{ \2}"),
        ("°", r"°\s*(?:\\text\{\s*)?([CF])\s*\}?\s*$", r"\\text{ °\1}"),
    )
)
"""What has to be in a text, what it is then searched for, what is put there."""
_PLAIN = re.compile(r"-?(?:0|[1-9]\d{0,2}|\d*\.\d+|[1-9]\d*)")
_SPACES = re.compile(r"\s+")
_BASE_WORDS = "|".join(NUMBER_WORDS)
_BASE = re.compile(
    rf"_\{{?\s*\\text\{{\s*(?:base )?\s*(?:\}}\s*)?(?P<low>\d+|{_BASE_WORDS})\s*\}}?\s*\}}?$"
    r"|\s*\(?\s*(?:\\text\{)?\s*\(?(?:in )?base[- ]+(?:\}\s*)?"
    rf"(?P<said>\d+|{_BASE_WORDS})\s*\}}?\s*\)?\s*\}}?$"
)
_LONE_DOLLAR = re.compile(r"(?<!\\)\$(?=\s*[\d.])")
_TRAILING = re.compile(r"(?:\s|(?<!\\)[.,;:]|\\cr)+$")
_GROUPED = re.compile(r"(?<![\d,.])(?<!\d )[1-9]\d{0,2}([, ])\d{3}(?:\1\d{3})*(?![\d,]| \d)")
_MIXED = re.compile(r"(?<![\d.}])(\d+) (\d+)/(\d+)")
_BRACKETED = re.compile(r"[(\[]|\\\{")


@lru_cache(maxsize=8192)
def clean(answer: str, grouping: bool = True) -> str:
    r"""One spelling of an answer: no math delimiters, no spacing or sizing commands.

    `\dfrac` and `\tfrac` become `\frac`; every text command `\text`; thousands separators outside
    of brackets vanish (`10{,}000`, `10,\!000` and `10,000` become `10000`); a final full stop goes.
    Units and currencies stay: they are compared (`split_unit`). `grouping=False` leaves the commas,
    the other reading of `100,200`.
    """
    if _PLAIN.fullmatch(answer):
        return answer
    text = from_unicode(open_boxes(answer))
    if text.count("$") - text.count("\\$") == 1:  # a sum of money, no mathematics between two
        text = _LONE_DOLLAR.sub(r"\\$", text)
    if "\\" in text:
        text = _COMMAND.sub(lambda match: _COMMANDS.get(match[1], match[0]), text)
    for sign, pattern, replacement in _RULES:
        if sign in text:
            text = pattern.sub(replacement, text)
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
        "celsius": "°c celsius",
        "fahrenheit": "°f fahrenheit",
        "radian": "radian radians rad",
        "percent": "% percent percents pct",
        "cent": "cent cents ¢",
        "dollar": "$ dollar dollars usd",
        "euro": "€ euro euros eur",
        "pound sterling": "£ gbp",
        "yen": "¥ yen",
        "rupee": "₹ rupee rupees rs",
        "mm": "mm millimeter millimeters",
        "cm": "cm centimeter centimeters centimetre centimetres",
        "m": "m meter meters metre metres",
        "km": "km kilometer kilometers kilometre kilometres",
        "inch": "in inch inches",
        "foot": "ft foot feet",
        "yard": "yd yard yards",
        "mile": "mi mile miles",
        "acre": "acre acres",
        "am": "am",
        "pm": "pm",
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
        "mile hour": "mph",
        "km hour": "kmh kph",
    }.items()
    for alias in aliases.split()
}
_MOST_CHARS = 200
_VAGUE = {"per", "of", "a", "an", "each"}
_POWER_WORDS = {"square": "2", "squared": "2", "sq": "2", "cubic": "3", "cubed": "3", "cu": "3"}
_UNIT_TEXT = re.compile(
    r"^(?P<body>.*?)\s*"
    r"(?P<unit>(?:[°%¢]|\s|\\text\{[^{}]*\}|(?<![\\a-zA-Z])[a-zA-Z]{1,12}\.?(?![a-zA-Z(]))+)"
    r"(?:\^\{?(?P<power>[23])\}?)?$",
    re.DOTALL,
)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_ANGLE_FUNCTION = re.compile(r"\\(?:sin|cos|tan|sec|csc|cot)")
_CONNECTIVE = re.compile(r"\b(?:or|and|mod|base|not|except|plus|minus|times)\b")
_CURRENCIES = {"cent", "dollar", "euro", "pound sterling", "yen", "rupee"}
_MONEY = re.compile(r"\\\$|[€£¥₹]")
_UNIT_WORD = re.compile(r"°[cf]\b|[^\W\d_]+|[°¢%]")
_SCALES = {
    "tenth": "10^{-1}", "tenths": "10^{-1}", "hundredth": "10^{-2}", "hundredths": "10^{-2}",
    "thousandth": "10^{-3}", "thousandths": "10^{-3}", "dozen": "12", "hundred": "10^2",
    "thousand": "10^3", "million": "10^6", "billion": "10^9", "trillion": "10^{12}",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quantity:
    """An answer without its unit: `18`, `degree`, no percent sign."""

    body: str
    unit: str | None
    """A known unit with its power, e.g. `cm^2`, `dollar`; None where nothing known is said."""
    percent: bool = False
    names: tuple[str, ...] = ()
    """Every unit that is said, a word that is none known as an empty text."""

    def clashes(self, other: Quantity) -> bool:
        """Whether another quantity can't be this one, whatever their numbers are.

        Two known units differ; money and a percentage are not 20 apples either.
        """
        if self.unit and other.unit:
            return self.unit != other.unit
        sure = self.unit == "percent" or self.unit in _CURRENCIES
        return sure and bool(other.names) and self.unit not in other.names


@lru_cache(maxsize=8192)
def split_unit(text: str) -> Quantity:
    r"""A cleaned leaf without its unit; a text that is all words has none.

    Words in `\text` after a value are always a unit (`14\text{ right triangles}`); bare words only
    where all of them are known units (`2xy` is a product) or are words after a number (`5 apples`).
    A currency stands before its value, or anywhere; `3 \text{ million}` is a number.
    """
    money = _MONEY.search(text)
    if money is not None:
        currency = _UNITS[money[0].removeprefix("\\")]
        rest = split_unit(_MONEY.sub(" ", text).strip())
        said = currency if rest.unit in (None, currency) else f"{currency} {rest.unit}"
        return Quantity(rest.body, said, rest.percent, (currency, *rest.names))
    match = _UNIT_TEXT.match(text) if len(text) <= _MOST_CHARS else None
    if match is None or not (body := match["body"].strip()):
        return Quantity(text, None)
    raw = match["unit"]
    if "°" in raw and _ANGLE_FUNCTION.search(body):  # in \sin 30°, the degrees are the argument's
        return Quantity(text, None)
    if _CONNECTIVE.search(raw) or not re.search(r"[\d}\w)]$", body):
        return Quantity(text, None)
    marked = "\\text" in raw
    words = _UNIT_WORD.findall(without_text(raw).casefold())
    power = match["power"]
    names: list[str] = []
    nameless = False
    for word in words:
        if word in _POWER_WORDS:
            power = _POWER_WORDS[word]
        elif word in _SCALES:
            body = f"({body})*{_SCALES[word]}"
        elif word in _UNITS:
            names.append(_UNITS[word])
        elif word in ("unit", "units"):
            nameless = True
        elif word not in _VAGUE:
            if not marked and not (len(word) > 3 and _NUMBER.fullmatch(body)):
                return Quantity(text, None)
            names.append("")
    bare_letter = not marked and any(len(word) == 1 and word.isalpha() for word in words)
    if bare_letter or (match["power"] and not words):
        return Quantity(text, None)
    if nameless and not names:
        names.append("")
    unit = " ".join(names) + (f"^{power}" if power else "") if names and "" not in names else None
    return Quantity(body, unit, "percent" in names, tuple(names))
