"""Families of algebra and number theory: linear equations, gcd and lcm, modular arithmetic."""

import random

from demo.problem import Operand, Plan, Ref, Unsuitable


def linear(rng: random.Random, level: int, plan: Plan) -> tuple[str, tuple[int, ...]]:
    """One unknown; on both sides from level 3 on."""
    a, x = rng.randint(2, 9), rng.randint(2, 20)
    b, e = rng.randint(2, 30), rng.randint(2, 20)
    if level == 1:
        d = a * x + b
        rest = plan.add(d, "-", b, "Move: ")
        return f"Solve {a}x + {b} = {d}.", (plan.add(rest, "/", a, "x: ").node,)
    if level == 2:
        b = rng.randint(2, 12)
        d = a * (x + b) - e
        if d < 1:
            raise Unsuitable("negative side")
        rest = plan.add(d, "+", e, "Move: ")
        inner = plan.add(rest, "/", a, "Divide: ")
        return f"Solve {a}(x + {b}) - {e} = {d}.", (plan.add(inner, "-", b, "x: ").node,)
    c = rng.randint(1, a - 1)
    if c == 1:
        raise Unsuitable("a bare x")
    if level == 3:
        d = (a - c) * x + b
        slope = plan.add(a, "-", c, "Slope: ")
        rest = plan.add(d, "-", b, "Move: ")
        text = f"Solve {a}x + {b} = {c}x + {d}."
        return text, (plan.add(rest, "/", slope, "x: ").node,)
    b = rng.randint(2, 9)
    side: Operand = plan.add(a, "*", b, "Expand: ")
    extra = ""
    if level == 5:
        side, extra = plan.add(side, "+", e, "Collect: "), f" + {e}"
    d = (a - c) * x + plan.value(side)
    slope = plan.add(a, "-", c, "Slope: ")
    rest = plan.add(d, "-", side, "Move: ")
    text = f"Solve {a}(x + {b}){extra} = {c}x + {d}."
    return text, (plan.add(rest, "/", slope, "x: ").node,)


def divisors(rng: random.Random, level: int, plan: Plan) -> tuple[str, tuple[int, ...]]:
    """Greatest common divisor (levels 1, 2, 4) and least common multiple (3, 5) by Euclid."""
    rounds = {1: 2, 2: 3, 3: 2, 4: 4, 5: 3}[level]
    divisor = rng.randint(2, 12)
    # Euclid run backwards: the quotients decide the number of rounds.
    small, large = 0, divisor
    for index in range(rounds):
        quotient = rng.randint(2 if index == 0 else 1, 4 if index == 0 else 3)
        small, large = large, quotient * large + small
    if large > 150:
        raise Unsuitable("numbers too large")
    a: Operand = large
    b: Operand = small
    for _ in range(rounds):
        a, b = b, plan.add(a, "mod", b, "Rest: ")
    gcd = a
    if not isinstance(gcd, Ref):
        raise Unsuitable("no remainder to name")
    if level not in (3, 5):
        return f"Find the gcd of {large} and {small}.", (gcd.node,)
    part = plan.add(small, "/", gcd, "Part: ")
    multiple = plan.add(large, "*", part, "Multiple: ")
    return f"Find the lcm of {large} and {small}.", (multiple.node,)


def modular(rng: random.Random, level: int, plan: Plan) -> tuple[str, tuple[int, ...]]:
    """A small expression modulo a small number."""
    m = rng.randint(3, 12)
    a, b = rng.randint(2, 20), rng.randint(2, 9)
    c, d = rng.randint(2, 20), rng.randint(2, 9)
    e = rng.randint(2, 30)
    current: Ref
    if level == 1:
        a, b = rng.randint(5, 60), rng.randint(5, 60)
        current = plan.add(a, "+", b)
        text = f"Find ({a} + {b}) mod {m}."
    elif level == 2:
        current = plan.add(plan.add(a, "*", b), "+", e)
        text = f"Find ({a} * {b} + {e}) mod {m}."
    elif level == 3:
        current = plan.add(plan.add(a, "*", b), "+", plan.add(c, "*", d))
        text = f"Find ({a} * {b} + {c} * {d}) mod {m}."
    else:
        reduced = plan.add(plan.add(a, "*", b), "mod", m)
        current = plan.add(plan.add(reduced, "+", c), "*", d)
        text = f"Find (({a} * {b} mod {m}) + {c}) * {d} mod {m}."
        if level == 5:
            current = plan.add(current, "+", e)
            text = f"Find (({a} * {b} mod {m}) + {c}) * {d} + {e} mod {m}."
    if plan.value(current) > 200:
        raise Unsuitable("number to reduce too large")
    return text, (plan.add(current, "mod", m, "Rest: ").node,)
