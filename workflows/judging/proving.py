"""Programs by which Z3 decides, in a sandbox, whether premises entail the claim of a step.

A formaliser makes them. It is a function of a package (`stages.formalize.by`), or a model whose
statements stage `translate` wrote.

Invariant: a program prints True where the premises entail the claim, else False, as its last word.
It fails, and so gives no verdict, where the premises contradict each other or Z3 can't decide.
"""

from __future__ import annotations

from collections.abc import Sequence

IMPORTS = "from z3 import *"
FOLLOWS = """\
solver = Solver()
solver.add(*premises)
assert solver.check() == sat, "the premises have no model"
def follows(claim):
    solver.push()
    solver.add(Not(claim))
    found = solver.check()
    solver.pop()
    assert found != unknown, "Z3 can't decide it"
    return found == unsat"""
"""Reads the list `premises`, and defines `follows`."""


def programs(premises: str, claims: Sequence[str]) -> list[str]:
    """A program per claim, all for the same interpreter; the first also states the premises.

    `premises`: Python that declares the variables and sets the list `premises`. `claims`: boolean
    expressions of Z3.
    """
    checks = [f"print(follows({claim}))" for claim in claims]
    return [f"{IMPORTS}\n{premises}\n{FOLLOWS}\n{checks[0]}", *checks[1:]] if checks else []


def in_words(step: str) -> str:
    """The sentence before the program in a verification's text."""
    return f"The premises of the problem must entail the claim: {step}"
