"""Families about parts of a whole: fractions and percentages."""

import random
from math import gcd

from demo.problem import Operand, Plan, Ref, Unsuitable


def _fraction(rng: random.Random) -> tuple[int, int]:
    while True:
        bottom = rng.randint(2, 9)
        top = rng.randint(1, bottom - 1)
        if gcd(top, bottom) == 1:
            return top, bottom


def _part(plan: Plan, top: int, bottom: int, whole: Operand) -> Ref:
    return plan.add(plan.add(whole, "/", bottom, "One part: "), "*", top, "All parts: ")


def fractions(rng: random.Random, level: int, plan: Plan) -> tuple[str, tuple[int, ...]]:
    """A fraction of a number (levels 1, 2, 4, 5) or a sum of two fractions (level 3)."""
    a, b = _fraction(rng)
    c, d = _fraction(rng)
    if level == 3:
        if gcd(b, d) != 1:
            raise Unsuitable("denominators share a factor")
        bottom = plan.add(b, "*", d, "Bottom: ")
        left = plan.add(a, "*", d, "Left: ")
        right = plan.add(c, "*", b, "Right: ")
        top = plan.add(left, "+", right, "Top: ")
        return f"Write {a}/{b} + {c}/{d} as one fraction.", (top.node, bottom.node)
    whole = b * rng.randint(2, 15)
    first = _part(plan, a, b, whole)
    extra = rng.randint(2, 30)
    if level == 1:
        return f"What is {a}/{b} of {whole}?", (first.node,)
    if level == 2:
        total = plan.add(first, "+", extra, "Total: ")
        return f"What is {a}/{b} of {whole} plus {extra}?", (total.node,)
    if level == 4:
        other = d * rng.randint(2, 15)
        second = _part(plan, c, d, other)
        total = plan.add(first, "+", second, "Total: ")
        return f"What is {a}/{b} of {whole} plus {c}/{d} of {other}?", (total.node,)
    second = _part(plan, c, d, first)
    total = plan.add(plan.add(second, "+", extra, "Total: "), "*", 2, "Twice: ")
    text = f"What is twice the sum of {extra} and {c}/{d} of {a}/{b} of {whole}?"
    return text, (total.node,)


def _percent(plan: Plan, percent: int, whole: Operand) -> Ref:
    tenth = plan.add(whole, "/", 10, "Ten percent: ")
    return plan.add(tenth, "*", percent // 10, "Share: ")


def percentages(rng: random.Random, level: int, plan: Plan) -> tuple[str, tuple[int, ...]]:
    """Percents that are multiples of ten, of numbers that are multiples of ten."""
    p, q = 10 * rng.randint(2, 9), 10 * rng.randint(2, 9)
    whole, other = 10 * rng.randint(2, 40), 10 * rng.randint(2, 40)
    extra = rng.randint(2, 40)
    share = _percent(plan, p, whole)
    if level == 1:
        return f"What is {p}% of {whole}?", (share.node,)
    if level == 4:
        second = _percent(plan, q, other)
        total = plan.add(share, "+", second, "Total: ")
        return f"What is {p}% of {whole} plus {q}% of {other}?", (total.node,)
    raised = plan.add(whole, "+", share, "Raised: ")
    if level == 2:
        return f"A price of {whole} rises by {p}%. Find the new price.", (raised.node,)
    if level == 3:
        final = plan.add(raised, "-", extra, "Final: ")
        text = f"A price of {whole} rises by {p}%, then falls by {extra}. Find the new price."
        return text, (final.node,)
    cut = _percent(plan, q, raised)
    final = plan.add(raised, "-", cut, "Final: ")
    return f"A price of {whole} rises by {p}%, then falls by {q}%. Find the new price.", (
        final.node,
    )
