"""Solutions as models of the demo world are taught to write them: right, slipping, repaired.

Invariant: a slip is followed faithfully. Once a writer has put down a number, every later step
uses that number, right or wrong, unless the writer says "Correction:" and computes it again.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from demo.problem import (
    COMMUTATIVE,
    OPERATIONS,
    Operand,
    Problem,
    Ref,
    answer_step,
    equation,
    is_exact,
)

REPAIR_LEAD = "Correction: "
CHECK_LEAD = "Check: "
_CHECKS = {"+": "-", "-": "+", "*": "/", "/": "*"}
_WRONG_OPERATION = {
    "+": "-",
    "-": "+",
    "*": "+",
    "/": "-",
    "mod": "/",
    "and": "or",
    "or": "and",
    "xor": "or",
}


@dataclass(frozen=True)
class Habits:
    """How often, per step unless said otherwise, a writer does what."""

    slip: float = 0.0
    repair: float = 0.0
    """Notices a slip of the step before and computes it again."""
    check: float = 0.0
    """Undoes a step that it has just taken, harmlessly."""
    swap: float = 0.0
    """Writes the operands of a commutative operation the other way round."""
    boxless: float = 0.0
    """Per solution: forgets the box."""
    blurt: float = 0.0
    """Per solution: gives the answer as its only step."""


@dataclass(frozen=True)
class Solution:
    """Steps, and for each whether a slip or its repair happened there."""

    steps: tuple[str, ...]
    slips: tuple[bool, ...]


def write(problem: Problem, habits: Habits, rng: random.Random, done: int = 0) -> Solution:
    """One solution by a writer of these habits; its rest where so many operations are done."""
    believed = list(problem.values[:done])
    steps: list[str] = []
    slips: list[bool] = []

    def put(step: str, slipped: bool = False) -> None:
        steps.append(step)
        slips.append(slipped)

    def believes(operand: Operand) -> int:
        return believed[operand.node] if isinstance(operand, Ref) else operand

    for index, node in enumerate(problem.nodes[done:], start=done):
        left, right = believes(node.left), believes(node.right)
        honest = OPERATIONS[node.op](left, right)
        slipped = rng.random() < habits.slip
        if slipped:
            step, result = _slip(problem, index, left, right, believed, rng)
            put(step, step != equation(node.lead, left, node.op, right, honest))
            if rng.random() < habits.repair:
                put(equation(REPAIR_LEAD, left, node.op, right, honest))
                result = honest
        else:
            result = honest
            swapped = node.op in COMMUTATIVE and rng.random() < habits.swap
            first, second = (right, left) if swapped else (left, right)
            put(equation(node.lead, first, node.op, second, result))
            checks = node.op in _CHECKS and rng.random() < habits.check
            if checks and is_exact(left, node.op, right, result):
                put(_undo(left, node.op, right, result))
        believed.append(result)
    answer = "/".join(str(believed[node]) for node in problem.answer_nodes)
    last = answer_step(answer)
    if rng.random() < habits.boxless:
        last = f"The answer is {answer}."
    if rng.random() < habits.blurt:
        return Solution((last,), (False,))
    put(last)
    return Solution(tuple(steps), tuple(slips))


def _undo(left: int, op: str, right: int, result: int) -> str:
    return equation(CHECK_LEAD, result, _CHECKS[op], right, left)


def _slip(
    problem: Problem,
    index: int,
    left: int,
    right: int,
    believed: Sequence[int],
    rng: random.Random,
) -> tuple[str, int]:
    """A step gone wrong in a natural way, and the number it leaves behind."""
    node = problem.nodes[index]
    op, result = node.op, OPERATIONS[node.op](left, right)
    kind = rng.random()
    if node.op in {"and", "or", "xor"}:
        result = 1 - result
    elif kind < 0.55:
        result = _miscalculate(result, rng)
    elif kind < 0.8:
        stale = _stale(problem, index, believed)
        left, right = (stale, right) if isinstance(node.left, Ref) else (left, stale)
        if op in {"/", "mod"} and right == 0:
            right = 1
        result = OPERATIONS[op](left, right)
    else:
        op = _WRONG_OPERATION[op]
        if op in {"/", "mod"} and right == 0:
            op = "-"
        result = OPERATIONS[op](left, right)
    return equation(node.lead, left, op, right, result), result


def _miscalculate(result: int, rng: random.Random) -> int:
    """Off by one, or by ten: the slips of carrying and counting."""
    steps = (1, -1, 10, -10) if result >= 20 else (1, 1, 1, -1 if result > 0 else 1)
    return result + rng.choices(steps, (5, 2, 2, 1))[0]


def _stale(problem: Problem, index: int, believed: Sequence[int]) -> int:
    """A number of the neighbourhood taken for the right one: an earlier result or literal."""
    earlier = [*believed[:-1]][-1:]
    literals = [
        operand
        for node in problem.nodes[max(0, index - 1) : index + 2]
        for operand in (node.left, node.right)
        if not isinstance(operand, Ref) and operand not in (problem.nodes[index].right,)
    ]
    return (earlier or literals or [index + 1])[0]


def corrupt(problem: Problem, rng: random.Random) -> Solution:
    """A solution with at least one slip: for probes that need a wrong step."""
    while True:
        found = write(problem, Habits(slip=0.3), rng)
        if any(found.slips):
            return found
