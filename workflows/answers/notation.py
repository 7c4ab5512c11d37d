r"""Translates other notations of an answer to LaTeX: Unicode's mathematics and program code.

`½` becomes `\frac{1}{2}`, `x²` becomes `x^{2}`, `3π/4` becomes `3\pi /4`. `2*sqrt(3)`, `x**2`, `<=`
and `pi/6` become their LaTeX. Words in `\text{...}` stay.

Invariant: a text that is unambiguous as LaTeX stays the same.
"""

from __future__ import annotations

import re
import unicodedata

_SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "‒": "-", "﹣": "-", "×": "*", "·": "*",
    "⋅": "*",
    "∗": "*", "•": "*", "÷": "/", "⁄": "/", "∕": "/", "∶": ":", "∞": r"\infty ", "∪": r"\cup ",
    "∩": r"\cap ", "∈": r"\in ", "∖": r"\setminus ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}", "ℚ": r"\mathbb{Q}", "ℕ": r"\mathbb{N}", "ℂ": r"\mathbb{C}", "≤": r"\le ",
    "⩽": r"\le ", "≦": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≧": r"\ge ", "≠": r"\ne ",
    "≈": r"\approx ", "≡": r"\equiv ", "±": r"\pm ", "∓": r"\mp ", "→": r"\to ", "∠": r"\angle ",
    "△": r"\triangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "⟨": r"\langle ", "⟩": r"\rangle ", "〈": r"\langle ", "〉": r"\rangle ", "∣": "|",
    "°": r"^\circ ", "º": r"^\circ ", "˚": r"^\circ ", "∘": r"^\circ ", "…": "...", "⋯": "...",
    "″": "''", "′": "'",
    "“": '"', "”": '"', "‘": "'", "’": "'", "、": ",", "。": ".", "「": "", "」": "",
    "ϕ": r"\phi ", "ϑ": r"\theta ", "ϵ": r"\epsilon ", "∆": r"\Delta ", "Ω": r"\Omega ",
    "µ": r"\mu ",
}  # fmt: skip
_GREEK = (  # noqa: SIM905  a list of words reads better in one line
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma "
    "tau upsilon phi chi psi omega"
).split()
_LOST = (("\x0crac", r"\frac"), ("\text{", r"\text{"), ("\times", r"\times"), ("\theta", r"\theta"))
"""Commands whose backslash a JSON parser took for an escape."""
_ROOTS = {"√": "", "∛": "[3]", "∜": "[4]"}
_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣʸᵏ", "0123456789+-()nixyk", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙₓₖₐₑₘᵢⱼ", "0123456789+-()nxkaemij", strict=True))


def _table() -> dict[str, str]:
    table = dict(_SYMBOLS)
    for name in _GREEK:
        for form in ("SMALL", "CAPITAL"):
            character = unicodedata.lookup(
                f"GREEK {form} LETTER {'LAMDA' if name == 'lambda' else name.upper()}"
            )
            table[character] = f"\\{name if form == 'SMALL' else name.capitalize()} "
    table.update(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧοϲ", "ABEZHIKMNOPTXoc", strict=True))
    table["ς"] = r"\sigma "
    return table


_TABLE = str.maketrans(_table())
_RAISED = re.compile(f"[{re.escape(''.join(_SUPERSCRIPTS))}]+")
_LOWERED = re.compile(f"[{re.escape(''.join(_SUBSCRIPTS))}]+")
_ROOT = re.compile(r"([√∛∜])\s*(?:(\d+(?:\.\d+)?|[A-Za-z])|(?=[({\\]))?")


def from_unicode(text: str) -> str:
    """Translates Unicode's mathematical characters to LaTeX; ASCII stays."""
    for lost, command in _LOST:
        text = text.replace(lost, command)
    if text.isascii():
        return text
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")  # zero width, marks
    text = _RAISED.sub(lambda run: _script("^", run[0], _SUPERSCRIPTS), text)
    text = _LOWERED.sub(lambda run: _script("_", run[0], _SUBSCRIPTS), text)
    text = _ROOT.sub(_root, text)
    return "".join(map(_plain, text.translate(_TABLE)))


def _script(sign: str, run: str, letters: dict[str, str]) -> str:
    return f"{sign}{{{''.join(letters[letter] for letter in run)}}}"


def _root(match: re.Match[str]) -> str:
    return f"\\sqrt{_ROOTS[match[1]]}" + (f"{{{match[2]}}}" if match[2] else "")


def _plain(character: str) -> str:
    """`½` as a fraction; full-width and mathematical letters and digits as ASCII."""
    if character.isascii():
        return character
    value = unicodedata.normalize("NFKC", character)
    top, slash, bottom = value.partition("⁄")
    if slash:
        return f"\\frac{{{top}}}{{{bottom}}}"
    return value if value.isascii() and value.strip() else " " if character.isspace() else character


_TEXT = re.compile(r"\\(?:text|mbox|textbf|textit|mathrm|operatorname)\s*\{[^{}]*\}")
FUNCTIONS = (
    "sin", "cos", "tan", "sec", "csc", "cot", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan",
    "ln", "log", "exp",
)  # fmt: skip
_NAMES = {
    **{name: f"\\{name} " for name in FUNCTIONS},
    **{name: f"\\{name} " for name in _GREEK if len(name) > 2},
    "asin": r"\arcsin ", "acos": r"\arccos ", "atan": r"\arctan ", "pi": r"\pi ",
    "infinity": r"\infty ", "Infinity": r"\infty ", "infty": r"\infty ", "inf": r"\infty ",
    "oo": r"\infty ", "sqrt": r"\sqrt", "cbrt": r"\sqrt[3]",
}  # fmt: skip
_NAME = re.compile(
    rf"(?<![\\a-zA-Z])({'|'.join(sorted(_NAMES, key=len, reverse=True))})(?![a-zA-Z])"
)
_SIGNS = tuple(
    (sign, re.compile(pattern, re.DOTALL), replacement)
    for sign, pattern, replacement in (
        ("**", r"^\s*\*\*(.+?)\*\*\s*$", r"\1"),  # bold in Markdown
        ("nswer", r"\*\*([^*]*nswer[^*]*)\*\*", r"\1"),
        ("**", r"(?<=[:\s])\*\*([^*]+)\*\*\s*$", r"\1"),
        ("frac{", r"(?<![\\a-zA-Z])[dt]?frac(?=\{)", r"\\frac"),
        ("Sqrt[", r"Sqrt\[([^\[\]]*)\]", r"\\sqrt{\1}"),
        ("sqrt", r"(?<![\\a-zA-Z])sqrt\s*(\d+(?:\.\d+)?|[a-zA-Z](?![a-zA-Z]))", r"\\sqrt{\1}"),
        ("**", r"\*\*\s*(-?\d*\.?\d+)(?![.\d])", r"^{\1}"),
        ("**", r"\*\*", "^"),
        ("_", r"(?<=\d)_(?=\d{3}(?:_\d{3})*(?![\d_]))", ""),
        ("^", r"\^\s*(\d*\.\d+|\d{2,})(?![.\d])", r"^{\1}"),
        ("{", r"^\s*\{([^{}]*,[^{}]*)\}\s*$", r"\\{\1\\}"),
        ("om", r"(?<![\\a-zA-Z])(?:binomial|comb)\s*\((\w+)\s*,\s*(\w+)\)", r"\\binom{\1}{\2}"),
        ("I", r"(?<=\d)\s*\*\s*I(?![a-zA-Z])", "i"),
        ("j", r"^([-+*/().\d\s]*\d)\s*j([-+*/().\d\s]*)$", r"\1i\2"),
        ("<=", r"(?<!\\)<=", r"\\le "),
        ("=<", r"(?<!\\)=<", r"\\le "),
        (">=", r"(?<!\\)>=", r"\\ge "),
        ("!=", r"(?<!\\)!=", r"\\ne "),
        ("<>", r"(?<!\\)<>", r"\\ne "),
        ("==", r"={2,}", "="),
        ("+", r"\+/?-", r"\\pm "),
        ("U", r"(?<=[\])])\s*U\s*(?=[(\[])", r"\\cup "),
        ("nion", r"(?<=[\])])\s*[uU]nion\s*(?=[(\[])", r"\\cup "),
        ("e", r"(?<![\d.])(\d+\.\d+)e([+-]?\d{1,3})(?![\d.])", r"\1*10^{\2}"),
        ("log", r"(?<![\\a-zA-Z])log_?(\d+)\s*(?=\()", r"\\log_{\1}"),
        ("e", r"^\s*(-?\d+)e\+?(\d{1,3})\s*$", r"\1*10^{\2}"),
        ("floor", r"(?<![\\a-zA-Z])floor\s*\(([^()]*)\)", r"\\lfloor \1\\rfloor "),
        ("ceil", r"(?<![\\a-zA-Z])ceil(?:ing)?\s*\(([^()]*)\)", r"\\lceil \1\\rceil "),
        ("abs", r"(?<![\\a-zA-Z])abs\s*\(([^()]*)\)", r"|\1|"),
    )
)
"""(substring that a text must contain, pattern to search, replacement)."""
_WORDS = re.compile(r"[a-zA-Z]{2}")
_SQRT = re.compile(r"\\sqrt(\[\d+\])?\s*\(")


def from_program(text: str) -> str:
    """Translates program code and plain text to LaTeX: function names, `**`, `<=`, `inf`."""
    spoken: list[str] = []

    def hide(match: re.Match[str]) -> str:
        spoken.append(match[0])
        return f"\x00{len(spoken) - 1}\x00"

    text = _TEXT.sub(hide, text) if "\\" in text else text
    for sign, pattern, replacement in _SIGNS:
        if sign in text:
            text = pattern.sub(replacement, text)
    if _WORDS.search(text):
        text = _NAME.sub(lambda match: _NAMES[match[1]], text)
        text = _rooted(text) if "sqrt" in text else text
    return re.sub("\x00(\\d+)\x00", lambda match: spoken[int(match[1])], text) if spoken else text


def _rooted(text: str) -> str:
    r"""`\sqrt(2x)` as `\sqrt{2x}`."""
    opened: list[int] = []
    closing: dict[int, int] = {}
    for place, character in enumerate(text):
        if character == "(":
            opened.append(place)
        elif character == ")" and opened:
            closing[opened.pop()] = place
    characters = list(text)
    for match in _SQRT.finditer(text):
        place = match.end() - 1
        if place in closing:
            characters[place], characters[closing[place]] = "{", "}"
    return "".join(characters)
