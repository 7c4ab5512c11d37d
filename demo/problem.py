"""A problem of the demo world: its text, and the plan of operations that solves it.

Invariant: ``values[i]`` is the exact result of ``nodes[i]``, operands of a node are literals or
results of earlier nodes, and the answer follows from results alone. Everything else (reference
solution, checker, noisy writers, rationales) is derived from this plan.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True)
class Ref:
    """The result of an earlier node, by its index."""

    node: int


Operand = int | Ref


def _quotient(left: int, right: int) -> int:
    """Whole-number division; by zero it gives zero, so that wrong solutions can be continued."""
    return left // right if right else 0


def _remainder(left: int, right: int) -> int:
    return left % right if right else 0


OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": _quotient,
    "mod": _remainder,
    "and": lambda left, right: left & right,
    "or": lambda left, right: left | right,
    "xor": lambda left, right: left ^ right,
}
PYTHON = {"/": "//", "mod": "%", "xor": "^", "and": "&", "or": "|"}
"""Operators whose Python spelling differs from the one in solutions."""

COMMUTATIVE = frozenset({"+", "*", "and", "or", "xor"})


@dataclass(frozen=True)
class Node:
    """One operation of the plan, with the words that introduce it."""

    lead: str
    left: Operand
    op: str
    right: Operand


@dataclass(frozen=True)
class Problem:
    """What is asked, and how it is solved."""

    problem_id: str
    family: str
    level: int
    text: str
    nodes: tuple[Node, ...]
    values: tuple[int, ...]
    answer_nodes: tuple[int, ...]
    """One node, or numerator and denominator."""

    @property
    def answer(self) -> str:
        """The values that are asked for."""
        return "/".join(str(self.values[node]) for node in self.answer_nodes)

    @property
    def reference_solution(self) -> tuple[str, ...]:
        """The steps in order, without headers, the boxed answer last."""
        lines = [
            equation(node.lead, self.value(node.left), node.op, self.value(node.right), result)
            for node, result in zip(self.nodes, self.values, strict=True)
        ]
        return (*lines, answer_step(self.answer))

    def value(self, operand: Operand) -> int:
        """The true number behind an operand."""
        return self.values[operand.node] if isinstance(operand, Ref) else operand


def equation(lead: str, left: int, op: str, right: int, result: int) -> str:
    """One computing step."""
    return f"{lead}{left} {op} {right} = {result}."


def answer_step(answer: str) -> str:
    """The last step."""
    return f"The answer is \\boxed{{{answer}}}."


def is_exact(left: int, op: str, right: int, result: int) -> bool:
    """Whether the equation holds over the rationals (7 / 2 = 3 does not)."""
    if op == "/":
        return right != 0 and Fraction(left, right) == result
    if op == "mod" and right == 0:
        return False
    return OPERATIONS[op](left, right) == result


class Unsuitable(Exception):
    """A draw of numbers that makes no nice problem; the family draws again."""


@dataclass
class Plan:
    """Collects the nodes of a problem while its family draws the numbers."""

    nodes: list[Node] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    low: int = 0
    high: int = 999

    def value(self, operand: Operand) -> int:
        """A number, or the value of a node."""
        return self.values[operand.node] if isinstance(operand, Ref) else operand

    def add(self, left: Operand, op: str, right: Operand, lead: str = "") -> Ref:
        """Append an operation; ``Unsuitable`` if it is not exact or leaves the world's range."""
        a, b = self.value(left), self.value(right)
        if op in {"/", "mod"} and b == 0:
            raise Unsuitable("division by zero")
        result = OPERATIONS[op](a, b)
        if not is_exact(a, op, b, result) or not self.low <= result <= self.high:
            raise Unsuitable(f"{a} {op} {b}")
        self.nodes.append(Node(lead, left, op, right))
        self.values.append(result)
        return Ref(len(self.nodes) - 1)
