"""The formaliser of the demo's logic problems: their steps as programs that Z3 checks.

Named as `stages.formalize.by: demo.formal:programs`; it asks no model.

The language is boolean circuits. A problem says `Let P = 1, Q = 0.` and `Let A = P and Q.`. It
asks `How many of A, B are 1?`. A step claims `A: 1 and 0 = 0.`, `Count: 0 + 1 = 1.` or a boxed
answer. A claim holds if the problem's premises entail it: its negation and the premises have no
model. A claim about a gate names its operation, its two values and its result.

Invariant: a text that can't be translated raises ItemError `not_formal` and gets no verdict.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.errors import ItemError
from workflows.formats.statements import Informal
from workflows.judging import proving

_VALUE = re.compile(r"\b([A-Z]) = ([01])\b")
_GATE = re.compile(r"\bLet ([A-Z]) = ([A-Z]) (and|or|xor) ([A-Z])\.")
_ASKED = re.compile(r"How many of ([A-Z](?:, [A-Z])*) are 1\?")
_GATE_CLAIM = re.compile(r"([A-Z]): ([01]) (and|or|xor) ([01]) = ([01])\.")
_SUM_CLAIM = re.compile(r"Count: (-?\d+) (\+|-|\*|/|mod) (-?\d+) = (-?\d+)\.")
_ANSWER = re.compile(r"The answer is \\boxed\{(-?\d+)\}\.")
_FUNCTION = {"and": "And", "or": "Or", "xor": "Xor"}


@dataclass(frozen=True, slots=True)
class Theory:
    """A problem as formulas: given values, gates in order, and the gates that are counted."""

    values: Mapping[str, bool]
    gates: tuple[tuple[str, str, str, str], ...]
    """(name, left, operation, right)."""
    counted: tuple[str, ...]


def theory(problem: str) -> Theory:
    """The formulas of a problem. Raises ItemError `not_formal`."""
    values = {name: value == "1" for name, value in _VALUE.findall(problem)}
    gates = tuple((name, left, op, right) for name, left, op, right in _GATE.findall(problem))
    question = _ASKED.search(problem)
    known = set(values)
    for name, left, _, right in gates:
        if not {left, right} <= known:
            raise ItemError(Informal.NOT_FORMAL, f"gate {name}")
        known.add(name)
    counted = tuple(question[1].split(", ")) if question else ()
    if not gates or not counted or not set(counted) <= {gate[0] for gate in gates}:
        raise ItemError(Informal.NOT_FORMAL, "not a circuit")
    return Theory(values, gates, counted)


def premises(of: Theory) -> str:
    """The program that states the problem: its names, and the list `premises`."""
    names = [*of.values, *(gate[0] for gate in of.gates)]
    given = [f"{name} == {value}" for name, value in of.values.items()]
    given += [f"{name} == {_FUNCTION[op]}({left}, {right})" for name, left, op, right in of.gates]
    lines = [f'{name} = Bool("{name}")' for name in names]
    return "\n".join([*lines, "premises = [", *(f"    {each}," for each in given), "]"])


def claim(of: Theory, steps: Sequence[str], at: int) -> str:
    """The claim of step `at`, as a Z3 expression. Raises ItemError `not_formal`."""
    step = steps[at].strip()
    if gate := _GATE_CLAIM.fullmatch(step):
        return _gate_claim(of, gate)
    if total := _SUM_CLAIM.fullmatch(step):
        return _sum_claim(of, steps, at, total)
    if answer := _ANSWER.fullmatch(step):
        return f"{_count(of.counted)} == {answer[1]}"
    raise ItemError(Informal.NOT_FORMAL, f"step {at + 1}: {step[:60]}")


def _gate_claim(of: Theory, match: re.Match[str]) -> str:
    name, first, op, second, result = match.groups()
    gates = {gate[0]: gate for gate in of.gates}
    if name not in gates:
        raise ItemError(Informal.NOT_FORMAL, f"there is no gate {name}")
    _, left, due, right = gates[name]
    if op != due:
        return f"And({name} == {result == '1'}, False)"
    a, b = first == "1", second == "1"
    ways = f"Or(And({left} == {a}, {right} == {b}), And({left} == {b}, {right} == {a}))"
    return f"And({ways}, {name} == {result == '1'})"


def _sum_claim(of: Theory, steps: Sequence[str], at: int, match: re.Match[str]) -> str:
    """The claim of a sum: the k-th one adds gate k + 1 to the count of the gates before it."""
    done = sum(bool(_SUM_CLAIM.fullmatch(step.strip())) for step in steps[:at])
    first, op, second, result = match.groups()
    if op != "+" or done + 1 >= len(of.counted):
        return f"And({_count(of.counted)} == {result}, False)"
    so_far, fresh = _count(of.counted[: done + 1]), _count(of.counted[done + 1 : done + 2])
    ways = (
        f"Or(And({so_far} == {first}, {fresh} == {second}), "
        f"And({so_far} == {second}, {fresh} == {first}))"
    )
    return f"And({ways}, {_count(of.counted[: done + 2])} == {result})"


def _count(names: Sequence[str]) -> str:
    return "Sum([" + ", ".join(f"If({name}, 1, 0)" for name in names) + "])"


def programs(problem: str, steps: Sequence[str]) -> list[str]:
    """A program per step, all for the same interpreter; the first also states the premises.

    Raises ItemError `not_formal`.
    """
    of = theory(problem)
    return proving.programs(premises(of), [claim(of, steps, at) for at in range(len(steps))])
