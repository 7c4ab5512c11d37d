"""What can be proved of a step of a word problem's solution: right, false, or nothing.

    false      an equation in it does not hold, not even rounded
    right      it has equations, all of them hold and are due: the plan's own, or several of its
               lines in one (`4 * 3 - 2 = 10`); and every number is the problem's, of a step before
               or of these equations
    nothing    all else: no equation, one that is not read, a true one that the plan has no use for

Equations are read with their signs, units and chains (`3 apples + 4 apples = 7`, `2*3 = 6 + 0`),
where `workflows.injecting.claims` reads only `a op b = c`: it must never guess, since it rewrites.

Invariant: only exact arithmetic decides, never a model and no answer. A text that is not read
wholly gives no equation.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise

from benchmarks.word_world import WordProblem
from workflows.injecting.claims import OPERATIONS


class Proved(StrEnum):
    """A verdict."""

    RIGHT = "right"
    FALSE = "false"
    NOTHING = "nothing"


_ALIKE = (
    (re.compile(r"\\boxed\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\text\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\[()\[\]]|\\,|\\;|\\!|\\?\$|\\left|\\right|\*\*"), " "),
    (re.compile(r"\\times\b|\\cdot\b|[×·]|(?<=\d)\s+x\s+(?=\d)"), " * "),
    (re.compile(r"\\div\b|÷"), " / "),
    (re.compile(r"−"), "-"),
    (re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), ""),
    (re.compile(r"\bplus\b"), "+"),
    (re.compile(r"\bminus\b"), "-"),
    (re.compile(r"\bmultiplied by\b|\btimes\b"), "*"),
    (re.compile(r"\bdivided by\b"), "/"),
    (re.compile(r"\bis equal to\b|\bequals\b"), "="),
)
_NUMBER = r"\d+(?:\.\d+)?"
_UNIT = r"(?:[ \t]+[A-Za-z][A-Za-z']*(?:/[A-Za-z]+)?){0,2}"
_TERM = rf"\(*[ \t]*{_NUMBER}(?![\w.]*\d)(?![A-Za-z_^])"
_SIDE = rf"{_TERM}(?:{_UNIT}[ \t]*\)*[ \t]*[-+*/][ \t]*-?{_TERM})*"
_EQUATION = re.compile(
    rf"(?<![\w.,^{{}}\\])(?P<sides>{_SIDE}(?:{_UNIT}[ \t]*\)*[ \t]*=[ \t]*-?{_SIDE})+\)*)"
    rf"(?!{_UNIT}[ \t]*(?:[*/^=+%(]|\\%|\\[dt]?frac|-[ \t]*[\dA-Za-z(\\]|percent\b|cents?\b))"
)
_BEFORE = re.compile(
    r"(?:[-+*/^(]|[\d)]|\w[ \t]*/|\b(?:step|day|week|part|problem))[ \t]*$", re.IGNORECASE
)
"""Before an equation: more of its left side, or a word whose number is no quantity."""
_UNITS = re.compile(rf"(?<=\d){_UNIT}(?=[ \t]*(?:[-+*/=)]|$))")
_OPERATION = re.compile(r"(?<=[\d)\w])\s*[-+*/]")
_REMAINDER = re.compile(r"[^=]{0,40}?\b(?:remainder|left ?over)", re.IGNORECASE)
_STATED = re.compile(rf"(?<![\w.]){_NUMBER}")


@dataclass(frozen=True, slots=True)
class Equation:
    """Two sides that a step calls equal."""

    text: str
    left: Fraction
    right: Fraction
    operands: tuple[Fraction, ...]
    """The numbers of the left side."""
    decimals: int

    @property
    def false(self) -> bool:
        """Whether it does not even hold to half a unit of the last decimal written."""
        apart = abs(self.left - self.right)
        return apart > (Fraction(1, 2 * 10**self.decimals) if self.decimals else 0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is proved of a step, and by what."""

    proved: Proved
    why: str


def plain(text: str) -> str:
    """A text with signs, boxes and numbers written in one way."""
    for pattern, instead in _ALIKE:
        text = pattern.sub(instead, text)
    return text


def equations(text: str) -> list[Equation]:
    """The equations of a step that can be read."""
    return [equation for _, found in _read(plain(text)) for equation in found]


def _read(text: str) -> Iterator[tuple[tuple[int, int], list[Equation]]]:
    """(Characters, equations) of every chain of sides in a plain text."""
    for match in _EQUATION.finditer(text):
        if _BEFORE.search(text[: match.start()]):
            continue
        if "/" in match["sides"] and _REMAINDER.match(text, match.end()):
            continue
        sides = match["sides"].split("=")
        found = [each for pair in pairwise(sides) if (each := _equation(*pair)) is not None]
        if found:
            yield match.span(), found


def _equation(left: str, right: str) -> Equation | None:
    """Two sides, the one that computes first; None: neither does, or one can't be read."""
    if not _OPERATION.search(left):
        if re.search(r"[A-Za-z]", left):  # `5 bags = 5 * 6`: what is counted, and no number
            return None
        left, right = right, left
    left, right = _side(left), _side(right)
    values = _value(left), _value(right)
    if not _OPERATION.search(left) or values[0] is None or values[1] is None:
        return None
    operands = tuple(Fraction(each) for each in re.findall(_NUMBER, left))
    decimals = len(right.partition(".")[2]) if re.fullmatch(f"-?{_NUMBER}", right) else 0
    text = " ".join(f"{left} = {right}".split())
    return Equation(text, values[0], values[1], operands, decimals)


def _side(text: str) -> str:
    """A side without its units, and without a bracket around the whole equation."""
    side = _UNITS.sub("", text).strip()
    if side.count("(") > side.count(")"):
        side = side.removeprefix("(")
    return side.removesuffix(")") if side.count(")") > side.count("(") else side


def _value(side: str) -> Fraction | None:
    """The exact value of a side; None: it is none."""

    def of(node: ast.expr) -> Fraction | None:
        if isinstance(node, ast.Constant):
            return Fraction(str(node.value))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            below = of(node.operand)
            return None if below is None else -below
        if isinstance(node, ast.BinOp) and type(node.op) in _OPS:
            left, right = of(node.left), of(node.right)
            if left is None or right is None:
                return None
            return OPERATIONS[_OPS[type(node.op)]](left, right)
        return None

    try:
        whole = re.sub(r"\b0+(?=\d)", "", side)
        return of(ast.parse(whole, mode="eval").body)
    except SyntaxError:
        return None


_OPS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def check(problem: WordProblem, steps: Sequence[str]) -> list[Verdict]:
    """The verdict on each step of a solution."""
    known = {*problem.numbers, *stated(problem.text)}
    due = _due(problem)
    verdicts = []
    for step in steps:
        text = plain(step)
        chains = list(_read(text))
        found = [equation for _, of in chains for equation in of]
        own = {value for each in found for value in (each.right, *each.operands)}
        strange = _outside(text, [span for span, _ in chains]) - known - own
        verdicts.append(_verdict(found, due, known, strange))
        known |= {*own, *stated(text)}
    return verdicts


def _verdict(
    found: Sequence[Equation],
    due: set[tuple[Fraction, tuple[Fraction, ...]]],
    known: set[Fraction],
    strange: set[Fraction],
) -> Verdict:
    if wrong := [each.text for each in found if each.false]:
        return Verdict(Proved.FALSE, "; ".join(wrong))
    if not found:
        return Verdict(Proved.NOTHING, "no equation is read")
    if undue := [each.text for each in found if not _is_due(each, due)]:
        return Verdict(Proved.NOTHING, f"true, and not of the plan: {'; '.join(undue)}")
    results: set[Fraction] = set()
    for each in found:
        if unknown := set(each.operands) - known - results:
            return Verdict(Proved.NOTHING, f"from nowhere: {_numbers(unknown)}")
        results.add(each.right)
    if strange:
        return Verdict(Proved.NOTHING, f"from nowhere: {_numbers(strange)}")
    return Verdict(Proved.RIGHT, "; ".join(each.text for each in found))


def _numbers(values: set[Fraction]) -> str:
    return ", ".join(str(value) for value in sorted(values))


def _due(problem: WordProblem) -> set[tuple[Fraction, tuple[Fraction, ...]]]:
    """(Result, operands) of the plan's lines, and of lines whose operands are not yet computed."""
    ways: dict[Fraction, list[tuple[Fraction, ...]]] = {}
    for claim in problem.plan:
        ways[claim.result] = [
            (*left, *right)
            for left in [(claim.left,), *ways.get(claim.left, [])]
            for right in [(claim.right,), *ways.get(claim.right, [])]
        ]
    return {(result, tuple(sorted(way))) for result, of in ways.items() for way in of} | {
        (claim.result, (repeated,) * int(times))  # 4 + 4 + 4 for 3 * 4
        for claim in problem.plan
        if claim.op == "*"
        for repeated, times in ((claim.left, claim.right), (claim.right, claim.left))
    }


def _is_due(equation: Equation, due: set[tuple[Fraction, tuple[Fraction, ...]]]) -> bool:
    """Whether it is exact, and its operands and its result belong together in the plan."""
    exact = equation.left == equation.right
    return exact and (equation.right, tuple(sorted(equation.operands))) in due


def stated(text: str) -> set[Fraction]:
    """All numbers of a text that are written in digits."""
    return {Fraction(each) for each in _STATED.findall(plain(text))}


def _outside(text: str, spans: Sequence[tuple[int, int]]) -> set[Fraction]:
    """The numbers outside of some characters of a plain text."""
    return {
        Fraction(match[0])
        for match in _STATED.finditer(text)
        if not any(start <= match.start() < end for start, end in spans)
    }
