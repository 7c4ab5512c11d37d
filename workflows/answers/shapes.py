r"""The shape of an answer: a value, a list, a bracketed group, a union, a matrix or a relation.

Brackets are part of the shape, so [1,2], (1,2) and {1,2} are three different answers. Their values
are compared elsewhere (`workflows.answers.equality`).

Invariant: reading never fails; a text without another shape is a `Leaf`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Leaf:
    """A single value or text."""

    text: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Values without brackets, `1, 2` or `1 or 2`, in any order."""

    items: tuple[Shape, ...]
    joints: tuple[str, ...]
    """The joints between neighbours: `,`, `and` or `or`."""

    @property
    def joint(self) -> str:
        """The joint of all neighbours; `mixed` if there are *and* and *or*."""
        words = set(self.joints) - {","}
        return "mixed" if len(words) > 1 else next(iter(words), ",")


@dataclass(frozen=True, slots=True)
class Group:
    """Values in brackets, `opening` and `closing`: a tuple, an interval or a set."""

    opening: str
    closing: str
    items: tuple[Shape, ...]
    joints: tuple[str, ...]

    @property
    def ordered(self) -> bool:
        """Whether the order matters: in all groups except sets."""
        return self.opening != "\\{"


@dataclass(frozen=True, slots=True)
class Union:
    r"""Sets joined by `\cup`."""

    items: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of cells; a determinant has `bars`."""

    rows: tuple[tuple[Shape, ...], ...]
    bars: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """`x = 5`, `1 < x < 2`: parts and the signs between them, in order."""

    parts: tuple[str, ...]
    signs: tuple[str, ...]
    text: str


Shape = Leaf | Listing | Group | Union | Matrix | Relation

_PAIRS = {"(": ")", "[": "]", "\\{": "\\}", "{": "}", "\\langle": "\\rangle"}
_OPENING = frozenset(_PAIRS)
_CLOSING = frozenset(_PAIRS.values())
_PIECE = re.compile(
    r"\\(?:begin|end)\s*\{[a-z]+\*?\}|\\text\{(?P<text>[^{}]*)\}|\\[a-zA-Z]+|\\.|.", re.DOTALL
)
_MATRIX = re.compile(
    r"^\\begin\s*\{(?P<kind>[pbvBV]?matrix|array|smallmatrix)\*?\}(?:\{[^{}]*\})?(?P<cells>.*)"
    r"\\end\s*\{(?P=kind)\*?\}$",
    re.DOTALL,
)
NAME = re.compile(
    r"(?:\\angle\s*)?(?:[a-zA-Z]{1,3}|\\[a-zA-Z]+)(?:_\{?\w+\}?)?(?:'|\^\{?-1\}?)?(?:\((?:[a-zA-Z],?\s*)+\))?"
    r"|\((?:[a-zA-Z]\s*,?\s*)+\)"
)
"""A name before `=`: x, x_1, f(x), AB, \\angle ABC, (x, y)."""
_SIGNS = {"=", "<", ">", "\\le", "\\ge", "\\ne", "\\in", "\\equiv"}
_ANY_SIGN = re.compile(r"[=<>]|\\(?:le|ge|ne|in|equiv)(?![a-zA-Z])")
_MORE = re.compile(r"[=,;]|\b(?:or|and)\b")
"""Signs that something other than a rounded value follows."""
_BETWEEN = re.compile(r"\s*,?\s*(?:or|and)\s*,?\s*$")
_BARE_CONNECTIVE = re.compile(r"(?<=\s)(?:or|and)\s")


@lru_cache(maxsize=8192)
def read(text: str) -> Shape:
    """The shape of a cleaned answer."""
    text = text.strip()
    matrix = _matrix(text)
    if matrix is not None:
        return matrix
    if "\\approx" in text:  # 2/3 \approx 0.67 states a value and then rounds it
        exact, _, rounded = text.partition("\\approx")
        if not exact.strip():
            return read(rounded)
        if not _MORE.search(rounded):
            return read(exact)
    pieces, joints = _split(text, {",", ";"}, connectives=True)
    if len(pieces) > 1:
        return Listing(tuple(read(piece) for piece in pieces), joints)
    parts, signs = _chain(text)
    if signs:
        if signs == ("\\in",):
            return read(parts[1])
        return Relation(parts, signs, text)
    members, _ = _split(text, {"\\cup"})
    if len(members) > 1:
        return Union(tuple(read(member) for member in members))
    group = _group(text)
    if group is not None:
        return group
    inner = re.fullmatch(r"\\text\{([^{}]*)\}", text)
    if inner and inner[1].strip() != text:
        spoken = inner[1].strip()
        shape = _as_text(read(spoken)) if spoken else None
        return shape if isinstance(shape, Listing) else Leaf(text)
    plus_minus = re.search(r"\\(?:pm|mp)(?![a-zA-Z])", text)
    if plus_minus:
        before, after = text[: plus_minus.start()], text[plus_minus.end() :]
        if "\\pm" not in after and "\\mp" not in after:
            return Listing((Leaf(f"{before}+{after}"), Leaf(f"{before}-{after}")), (",",))
    return Leaf(text)


def _as_text(shape: Shape) -> Shape:
    r"""The shape of words: `\text{A, B}` lists two texts."""
    if isinstance(shape, Listing):
        return Listing(tuple(_as_text(item) for item in shape.items), shape.joints)
    return Leaf(f"\\text{{{shape.text}}}") if isinstance(shape, Leaf) else shape


def _tokens(text: str) -> list[tuple[str, int, int, str | None]]:
    return [
        (match[0], match.start(), match.end(), match["text"]) for match in _PIECE.finditer(text)
    ]


def _split(
    text: str, separators: set[str], connectives: bool = False
) -> tuple[list[str], tuple[str, ...]]:
    """Split a text at separators outside of all brackets: (pieces, joints between them).

    Empty pieces are left out.
    """
    if not any(separator in text for separator in separators) and not (
        connectives and ("or" in text or "and" in text)
    ):
        return [text.strip()] if text.strip() else [], ()
    pieces: list[str] = []
    joints: list[str] = []
    joint = ","

    def cut(piece: str) -> None:
        nonlocal joint
        if piece := piece.strip():
            if pieces:
                joints.append(joint)
            pieces.append(piece)
            joint = ","

    depth, start = 0, 0
    for token, begin, end, spoken in _tokens(text):
        if token in _OPENING or token.startswith("\\begin"):
            depth += 1
        elif token in _CLOSING or token.startswith("\\end"):
            depth -= 1
        elif depth == 0:
            if connectives and spoken is None and token in "ao":
                bare = _BARE_CONNECTIVE.match(text, begin)
                end = bare.end() if bare else end
            else:
                bare = _BETWEEN.match(spoken) if connectives and spoken is not None else None
            if bare or token in separators:
                cut(text[start:begin])
                start = end
                joint = bare[0].strip(" ,") if bare else joint
    cut(text[start:])
    return pieces, tuple(joints)


def _chain(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not _ANY_SIGN.search(text):
        return (text,), ()
    parts: list[str] = []
    signs: list[str] = []
    depth, start = 0, 0
    for token, begin, end, _ in _tokens(text):
        if token in _OPENING:
            depth += 1
        elif token in _CLOSING:
            depth -= 1
        elif depth == 0 and token in _SIGNS:
            parts.append(text[start:begin].strip())
            signs.append(token)
            start = end
    parts.append(text[start:].strip())
    if any(not part for part in parts):
        return (text,), ()
    return tuple(parts), tuple(signs)


def _group(text: str) -> Shape | None:
    tokens = _tokens(text)
    if len(tokens) < 3 or tokens[0][0] not in ("(", "[", "\\{", "\\langle"):
        return None
    depth = 0
    for position, (token, *_) in enumerate(tokens):
        if token in _OPENING:
            depth += 1
        elif token in _CLOSING:
            depth -= 1
            if depth == 0 and position < len(tokens) - 1:
                return None
    opening, closing = tokens[0][0], tokens[-1][0]
    if depth != 0 or closing not in _CLOSING:
        return None
    inside = text[tokens[0][2] : tokens[-1][1]].strip()
    items, joints = _split(inside, {",", ";"}, connectives=True)
    if (opening, closing) == ("(", ")"):
        if len(items) == 1:
            return read(items[0])  # (A) is A, (x+1) is x+1: brackets around a value say nothing
        if set(joints) != {","}:
            return read(inside)  # (1 or 2) is a list in brackets, not a point
    return Group(opening, closing, tuple(read(item) for item in items), joints)


def _matrix(text: str) -> Matrix | None:
    match = _MATRIX.match(text)
    wrapped = re.fullmatch(r"[(\[]\s*(\\begin.*\\end\s*\{[a-z]+\*?\})\s*[)\]]", text, re.DOTALL)
    if match is None and wrapped is not None:
        match = _MATRIX.match(wrapped[1])
    if match is None or "\\begin" in match["cells"]:
        return None
    rows = [row for row in match["cells"].split("\\cr") if row.strip()]
    cells = tuple(tuple(read(cell) for cell in row.split("&")) for row in rows)
    return Matrix(cells, bars=match["kind"] in ("vmatrix", "Vmatrix"))


def written(shape: Shape) -> str:
    """The text of a shape."""
    match shape:
        case Leaf(text):
            return text
        case Group(opening, closing):
            return opening + _joined(shape) + closing
        case Union(items):
            return " \\cup ".join(written(item) for item in items)
        case Listing():
            return _joined(shape)
        case Relation():
            return shape.text
        case Matrix(rows):
            body = " \\\\ ".join(" & ".join(written(cell) for cell in row) for row in rows)
            return "\\begin{pmatrix} " + body + " \\end{pmatrix}"


def _joined(shape: Listing | Group) -> str:
    joints = [", " if joint == "," else f" \\text{{ {joint} }} " for joint in shape.joints]
    texts = [written(item) for item in shape.items]
    return texts[0] + "".join(map("".join, zip(joints, texts[1:], strict=True))) if texts else ""
