r"""Splits a value from its unit: which words after a value are a unit, and which units clash.

Invariant: a unit is never part of the value. Words that change the value are no unit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from workflows.answers.text import without_text
from workflows.answers.words import changes

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
_SYMBOLS = frozenset("NJWVKAC")
"""Units of one letter, with a space before them: `5 \\text{ N}`."""
_UNIT_TEXT = re.compile(
    r"^(?P<body>.*?)\s*"
    r"(?P<unit>(?:[°%¢]|\s|\\text\{[^{}]*\}|(?<![\\a-zA-Z])[a-zA-Z]{1,12}\.?(?![a-zA-Z(]))+)"
    r"(?:\^\{?(?P<power>[23])\}?)?$",
    re.DOTALL,
)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
_ANGLE = re.compile(r"\\(?:sin|cos|tan|sec|csc|cot|pi(?![a-z]))")
_CURRENCIES = {"cent", "dollar", "euro", "pound sterling", "yen", "rupee"}
_MONEY = re.compile(r"\\\$|[€£¥₹]")
_UNIT_WORD = re.compile(r"°[cf]\b|[^\W\d_]+|[°¢%]", re.IGNORECASE)
_GLUED = re.compile(r"\\text\{[^{}]*\}[a-zA-Z]")
_SCALES = {
    "halves": "2^{-1}", "thirds": "3^{-1}", "fourths": "4^{-1}", "fifths": "5^{-1}",
    "sixths": "6^{-1}", "sevenths": "7^{-1}", "eighths": "8^{-1}", "ninths": "9^{-1}",
    "tenth": "10^{-1}", "tenths": "10^{-1}", "hundredth": "10^{-2}", "hundredths": "10^{-2}",
    "thousandth": "10^{-3}", "thousandths": "10^{-3}", "dozen": "12", "hundred": "10^2",
    "thousand": "10^3", "million": "10^6", "billion": "10^9", "trillion": "10^{12}",
}  # fmt: skip
_PARTS = frozenset(("third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"))
"""Words that change a value if they end the unit: `1 third` is not 1, `12 third graders` is 12."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """An answer without its unit: `18`, `degree`, no percent sign."""

    body: str
    unit: str | None
    """The known unit with its power, e.g. `cm^2`, `dollar`; None without a known unit."""
    percent: bool = False
    names: tuple[str, ...] = ()
    """All stated units; an unknown one is an empty text."""

    def clashes(self, other: Quantity) -> bool:
        """Whether the units alone make two quantities unequal.

        True for two different known units, and for money or a percentage against other units.
        """
        if self.unit and other.unit:
            return self.unit != other.unit
        sure = self.unit == "percent" or self.unit in _CURRENCIES
        return sure and bool(other.names) and self.unit not in other.names


@lru_cache(maxsize=8192)
def split_unit(text: str) -> Quantity:
    r"""Split a cleaned leaf into value and unit. A text of words alone has no unit.

    Words in `\text` after a value are always a unit (`14\text{ right triangles}`). Bare words are
    one only if all are known units (`2xy` is a product) or follow a number (`5 apples`). A currency
    can be anywhere. `3 \text{ million}` is a number.
    """
    money = _MONEY.search(text)
    if money is not None:
        currency = _UNITS[money[0].removeprefix("\\")]
        rest = split_unit(_MONEY.sub(" ", text).strip())
        unit_of_money = currency if rest.unit in (None, currency) else f"{currency} {rest.unit}"
        return Quantity(rest.body, unit_of_money, rest.percent, (currency, *rest.names))
    match = _UNIT_TEXT.match(text) if len(text) <= _MOST_CHARS else None
    if match is None or not (body := match["body"].strip()):
        return Quantity(text, None)
    raw = match["unit"]
    # In \sin 30° the degrees belong to the argument, and \pi/2 degrees are no right angle.
    if "'" in raw or ("°" in raw and _ANGLE.search(body)):
        return Quantity(text, None)
    if changes(raw) or _GLUED.search(raw) or not re.search(r"[\d}\w)]$", body):
        return Quantity(text, None)
    marked = "\\text" in raw
    apart = without_text(text[match.end("body") :])
    written = _UNIT_WORD.findall(apart)
    words = [word.casefold() for word in written]
    if (words and words[-1] in _PARTS) or any(_is_variable(word, apart) for word in written):
        return Quantity(text, None)
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
    if power and not names and not nameless:  # 3 squared is not 3
        raised = words == ["squared"] or words == ["cubed"]
        return Quantity(f"({body})^{power}", None) if raised else Quantity(text, None)
    if nameless and not names:
        names.append("")
    unit = " ".join(names) + (f"^{power}" if power else "") if names and "" not in names else None
    return Quantity(body, unit, "percent" in names, tuple(names))


def _is_variable(word: str, apart: str) -> bool:
    r"""Whether a letter after a value is a variable: `3\mathrm{x}` is 3x, `5\text{ N}` a force."""
    if len(word) > 1 or not word.isalpha() or word.casefold() in _UNITS or word == "a":
        return False
    return word not in _SYMBOLS or f" {word}" not in apart
