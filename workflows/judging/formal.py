"""Steps as formulas: what Z3 is asked, in a container, about each step of a logic solution.

The language is that of boolean circuits: a problem says `Let P = 1, Q = 0.` and `Let A = P and Q.`
and asks `How many of A, B are 1?`; a step claims `A: 1 and 0 = 0.`, `Count: 0 + 1 = 1.` or a boxed
answer. A claim holds where the problem's premises entail it: its negation with them has no model.
A claim about a gate says which operation it takes, of which values, and with which result.

Invariant: pure; what can't be put into formulas is an ItemError `not_formal`, never a verdict. The
verdict is printed by Z3's own program as the last word, True or False (`workflows.judging.tools`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from storage.errors import ItemError

_VALUE = re.compile(r"\b([A-Z]) = ([01])\b")
_GATE = re.compile(r"\bLet ([A-Z]) = ([A-Z]) (and|or|xor) ([A-Z])\.")
_ASKED = re.compile(r"How many of ([A-Z](?:, [A-Z])*) are 1\?")
_GATE_CLAIM = re.compile(r"([A-Z]): ([01]) (and|or|xor) ([01]) = ([01])\.")
_SUM_CLAIM = re.compile(r"Count: (-?\d+) (\+|-|\*|/|mod) (-?\d+) = (-?\d+)\.")
_ANSWER = re.compile(r"The answer is \\boxed\{(-?\d+)\}\.")
_FUNCTION = {"and": "And", "or": "Or", "xor": "Xor"}


class Informal(StrEnum):
    """Why a theorem prover can't be asked about a path; closed."""

    NOT_FORMAL = "not_formal"
    """A problem or a step can't be put into formulas."""


@dataclass(frozen=True, slots=True)
class Theory:
    """A problem in formulas: given values, gates in order, and the gates that are counted."""

    values: Mapping[str, bool]
    gates: tuple[tuple[str, str, str, str], ...]
    """(name, left, operation, right)."""
    counted: tuple[str, ...]


def theory(problem: str) -> Theory:
    """Read a problem. Raises ItemError `not_formal`."""
    values = {name: value == "1" for name, value in _VALUE.findall(problem)}
    gates = tuple((name, left, op, right) for name, left, op, right in _GATE.findall(problem))
    asked = _ASKED.search(problem)
    known = set(values)
    for name, left, _, right in gates:
        if not {left, right} <= known:
            raise ItemError(Informal.NOT_FORMAL, f"gate {name}")
        known.add(name)
    counted = tuple(asked[1].split(", ")) if asked else ()
    if not gates or not counted or not set(counted) <= {gate[0] for gate in gates}:
        raise ItemError(Informal.NOT_FORMAL, "not a circuit")
    return Theory(values, gates, counted)


def premises(of: Theory) -> str:
    """The program that states the problem: run once, before the steps."""
    names = [*of.values, *(gate[0] for gate in of.gates)]
    lines = ["from z3 import And, Bool, If, Not, Or, Solver, Sum, Xor, unsat"]
    lines += [f'{name} = Bool("{name}")' for name in names]
    lines.append("premises = Solver()")
    lines += [f"premises.add({name} == {value})" for name, value in of.values.items()]
    lines += [
        f"premises.add({name} == {_FUNCTION[op]}({left}, {right}))"
        for name, left, op, right in of.gates
    ]
    lines += [
        "def follows(claim):",
        "    premises.push()",
        "    premises.add(Not(claim))",
        "    found = premises.check() == unsat",
        "    premises.pop()",
        "    return found",
    ]
    return "\n".join(lines)


def claim(of: Theory, steps: Sequence[str], at: int) -> str:
    """What step `at` claims, as a Z3 expression. Raises ItemError `not_formal`."""
    step = steps[at].strip()
    if gate := _GATE_CLAIM.fullmatch(step):
        return _gate_claim(of, gate)
    if total := _SUM_CLAIM.fullmatch(step):
        return _sum_claim(of, steps, at, total)
    if answer := _ANSWER.fullmatch(step):
        return f"{_count(of.counted)} == {answer[1]}"
    raise ItemError(Informal.NOT_FORMAL, f"step {at + 1}: {step[:60]}")


def _gate_claim(of: Theory, said: re.Match[str]) -> str:
    name, first, op, second, result = said.groups()
    gates = {gate[0]: gate for gate in of.gates}
    if name not in gates:
        raise ItemError(Informal.NOT_FORMAL, f"there is no gate {name}")
    _, left, due, right = gates[name]
    if op != due:
        return f"And({name} == {result == '1'}, False)"
    one, two = first == "1", second == "1"
    ways = f"Or(And({left} == {one}, {right} == {two}), And({left} == {two}, {right} == {one}))"
    return f"And({ways}, {name} == {result == '1'})"


def _sum_claim(of: Theory, steps: Sequence[str], at: int, said: re.Match[str]) -> str:
    """Number k of the sums adds gate k + 1 to what the gates before it come to."""
    done = sum(bool(_SUM_CLAIM.fullmatch(step.strip())) for step in steps[:at])
    first, op, second, result = said.groups()
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
    """One program per step, to be run in one interpreter; the first also states the premises."""
    of = theory(problem)
    asked = [f"print(follows({claim(of, steps, at)}))" for at in range(len(steps))]
    return [f"{premises(of)}\n{asked[0]}", *asked[1:]] if asked else []


def in_words(step: str) -> str:
    """What is put before the program in a verification."""
    return f"The premises of the problem must entail the claim: {step}"
