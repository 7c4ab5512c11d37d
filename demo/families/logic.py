"""Boolean circuits: gates over named inputs, then the count of true gates.

The answer is a count, so that a guess is seldom right; every gate is also a formula that a
theorem prover can decide.
"""

import random

from demo.problem import Operand, Plan

_INPUTS = ("P", "Q", "R", "S", "T", "U")
_GATES = ("A", "B", "C")
_OPERATORS = ("and", "or", "xor")


def logic(rng: random.Random, level: int, plan: Plan) -> tuple[str, tuple[int, ...]]:
    """Two gates on levels 1 and 2, three above; gates feed gates on levels 2, 4 and 5."""
    names = sorted(rng.sample(_INPUTS, 4 if level in (1, 3, 5) else 3))
    known: dict[str, Operand] = {name: rng.randint(0, 1) for name in names}
    given = ", ".join(f"{name} = {known[name]}" for name in names)
    gates = _GATES[: 2 if level <= 2 else 3]
    sentences = [f"Let {given}."]
    for number, gate in enumerate(gates):
        operator = rng.choice(_OPERATORS)
        left, right = rng.sample(names, 2)
        fed = number > 0 and level in (2, 4, 5) and (level != 4 or number == 2)
        if fed:
            left = gates[number - 1]
        sentences.append(f"Let {gate} = {left} {operator} {right}.")
        known[gate] = plan.add(known[left], operator, known[right], f"{gate}: ")
    count: Operand = known[gates[0]]
    for gate in gates[1:]:
        count = plan.add(count, "+", known[gate], "Count: ")
    text = " ".join(sentences) + f" How many of {', '.join(gates)} are 1?"
    return text, (len(plan.nodes) - 1,)
