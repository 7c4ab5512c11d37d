"""The exact judge of the demo world: which step of a solution is the first wrong one.

Invariant: only numbers are judged, never words, and nothing is given the benefit of the doubt. A
step is right if and only if it holds at least one claim, every number in it belongs to a claim,
and every claim is right. A claim is an equation "a op b = c" or a boxed answer; an equation is
right if it is exact and either is an operation of the problem's plan, whose operands are numbers
of the problem or results already claimed, or undoes one such operation ("Check: 42 - 25 = 17").
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from demo.problem import COMMUTATIVE, Operand, Problem, Ref, is_exact

_EQUATION = re.compile(
    r"(?<![\d.])(-?\d{1,9})\s*(\+|-|\*|/|\bmod\b|\band\b|\bor\b|\bxor\b)\s*(-?\d{1,9})\s*"
    r"=\s*(-?\d{1,9})(?![\d/])"
)
_BOX = re.compile(r"\\boxed\{\s*(-?\d{1,9}(?:\s*/\s*\d{1,9})?)\s*\}")


@dataclass(frozen=True)
class Equation:
    """A claim that an operation has a result."""

    left: int
    op: str
    right: int
    result: int


def equations(step: str) -> tuple[Equation, ...]:
    """The equations that a step claims, in order."""
    found = (match.groups() for match in _EQUATION.finditer(step))
    return tuple(Equation(int(a), op, int(b), int(c)) for a, op, b, c in found)


def boxed(step: str) -> Fraction | None:
    """The answer that a step boxes, if it can be read."""
    boxes = _BOX.findall(step)
    if not boxes:
        return None
    top, _, bottom = boxes[-1].replace(" ", "").partition("/")
    return None if bottom and int(bottom) == 0 else Fraction(int(top), int(bottom or 1))


def first_error(problem: Problem, steps: Sequence[str]) -> int | None:
    """The 0-based index of the first wrong step, None if all are right."""
    known: set[int] = set()
    for index, step in enumerate(steps):
        if not _is_right(problem, step, known):
            return index
    return None


def _is_right(problem: Problem, step: str, known: set[int]) -> bool:
    """Judge one step after right ones; ``known`` are the nodes whose results were claimed."""
    rest = _BOX.sub(" ", _EQUATION.sub(" ", step))
    claims = equations(step)
    answer = boxed(step)
    if any(character.isdigit() for character in rest) or not (claims or answer is not None):
        return False
    for claim in claims:
        if not is_exact(claim.left, claim.op, claim.right, claim.result):
            return False
        node = matching_node(problem, claim, known)
        if node is not None:
            known.add(node)
        elif not _undoes(problem, claim, known):
            return False
    if answer is None:
        return True
    derived = all(
        any(problem.values[node] == problem.values[other] for other in known)
        for node in problem.answer_nodes
    )
    return derived and answer == Fraction(problem.answer)


def matching_node(problem: Problem, claim: Equation, known: set[int]) -> int | None:
    """The operation of the plan that this exact claim performs with numbers at hand, if any."""
    matches = [node for node in _matches(problem, claim) if _at_hand(problem, node, known)]
    fresh = [node for node in matches if node not in known]
    return next(iter(fresh or matches), None)


def _matches(problem: Problem, claim: Equation) -> Iterator[int]:
    for index, node in enumerate(problem.nodes):
        if node.op != claim.op or problem.values[index] != claim.result:
            continue
        operands = (problem.value(node.left), problem.value(node.right))
        if operands == (claim.left, claim.right) or (
            node.op in COMMUTATIVE and operands == (claim.right, claim.left)
        ):
            yield index


def _at_hand(problem: Problem, index: int, known: set[int]) -> bool:
    node = problem.nodes[index]
    return all(_is_known(problem, operand, known) for operand in (node.left, node.right))


def _is_known(problem: Problem, operand: Operand, known: set[int]) -> bool:
    """A result counts as known also where an equal one was claimed: the text can't tell them."""
    if not isinstance(operand, Ref):
        return True
    return any(problem.values[operand.node] == problem.values[other] for other in known)


_INVERSES = {"+": "-", "-": "+", "*": "/", "/": "*"}


def _undoes(problem: Problem, claim: Equation, known: set[int]) -> bool:
    for index in known:
        node = problem.nodes[index]
        a, b, c = problem.value(node.left), problem.value(node.right), problem.values[index]
        if _INVERSES.get(node.op) != claim.op:
            continue
        swapped = (c, a, b) if node.op in COMMUTATIVE else (b, c, a)
        undone = {(c, b, a), swapped}
        if (claim.left, claim.right, claim.result) in undone:
            return True
    return False
