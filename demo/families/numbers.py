"""Families about plain numbers: chains of arithmetic, means, arithmetic sequences.

Each function draws one problem of a level into the plan and returns its text and answer nodes;
it raises ``Unsuitable`` where the drawn numbers do not work out. Level n asks for more steps than
level n - 1, or for as many harder ones.
"""

import random

from demo.problem import Operand, Plan, Ref, Unsuitable


def chain(rng: random.Random, level: int, plan: Plan) -> tuple[str, tuple[int, ...]]:
    """Start with a number, then add, subtract, multiply and divide, one after the other."""
    current: Operand = rng.randint(5, 50)
    sentences = [f"Start with {current}."]
    for _ in range(level + 1):
        value = plan.value(current)
        kinds = ["add", "subtract"] if value >= 4 else ["add"]
        if value <= 60:
            kinds.append("multiply")
        divisors = [d for d in range(2, 10) if value % d == 0 and value >= 2 * d]
        if divisors:
            kinds.append("divide")
        kind = rng.choice(kinds)
        if kind == "add":
            number = rng.randint(2, 40)
            sentences.append(f"Add {number}.")
            current = plan.add(current, "+", number)
        elif kind == "subtract":
            number = rng.randint(2, min(40, value - 1))
            sentences.append(f"Subtract {number}.")
            current = plan.add(current, "-", number)
        elif kind == "multiply":
            number = rng.randint(2, 5)
            sentences.append(f"Multiply by {number}.")
            current = plan.add(current, "*", number)
        else:
            number = rng.choice(divisors)
            sentences.append(f"Divide by {number}.")
            current = plan.add(current, "/", number)
    return " ".join(sentences) + " What is the result?", (len(plan.nodes) - 1,)


def mean(rng: random.Random, level: int, plan: Plan) -> tuple[str, tuple[int, ...]]:
    """The mean of a few numbers; a whole number."""
    count = level + 1
    numbers = [rng.randint(2, 60) for _ in range(count)]
    total: Operand = numbers[0]
    for number in numbers[1:]:
        total = plan.add(total, "+", number, "Sum: ")
    plan.add(total, "/", count, "Mean: ")
    return f"Find the mean of {', '.join(map(str, numbers))}.", (len(plan.nodes) - 1,)


def sequence(rng: random.Random, level: int, plan: Plan) -> tuple[str, tuple[int, ...]]:
    """A term, or the sum of the first terms, of an arithmetic sequence."""
    first, difference = rng.randint(2, 30), rng.randint(2, 9)
    count = rng.randint(4, 15)
    second = first + difference
    if level == 1:
        step = plan.add(second, "-", first, "Difference: ")
        plan.add(second, "+", step, "Next term: ")
        text = f"An arithmetic sequence starts {first}, {second}. Find the next term."
        return text, (1,)
    if level in (3, 4):
        given = plan.add(second, "-", first, "Difference: ")
        intro = f"An arithmetic sequence starts {first}, {second}."
        jump: Operand = given
    else:
        intro = f"An arithmetic sequence has first term {first} and difference {difference}."
        jump = difference
    gaps = plan.add(count, "-", 1, "Gaps: ")
    rise = plan.add(gaps, "*", jump, "Rise: ")
    last = plan.add(first, "+", rise, "Term: ")
    if level <= 3:
        return f"{intro} Find term {count}.", (last.node,)
    both: Ref = plan.add(first, "+", last, "First and last: ")
    if level == 4:
        return f"{intro} Find term 1 plus term {count}.", (both.node,)
    product = plan.add(both, "*", count, "Times the count: ")
    half = plan.add(product, "/", 2, "Half: ")
    if plan.value(product) > 900:
        raise Unsuitable("sum too large")
    return f"{intro} Find the sum of the first {count} terms.", (half.node,)
