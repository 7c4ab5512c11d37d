"""Short word problems: who has how much, what a purchase costs, how far a trip goes."""

import random

from demo.problem import Operand, Plan

PEOPLE = ("Ann", "Ben", "Cleo", "Dan", "Eva", "Finn")
THINGS = ("apples", "books", "coins", "marbles", "pens", "stamps")


def _possessions(rng: random.Random, level: int, plan: Plan) -> tuple[str, tuple[int, ...]]:
    one, two = rng.sample(PEOPLE, 2)
    things = rng.choice(THINGS)
    has, times = rng.randint(4, 40), rng.randint(2, 6)
    text = f"{one} has {has} {things} and {two} has {times} times as many."
    current: Operand = plan.add(plan.add(has, "*", times), "+", has, "Together: ")
    if level >= 2:
        lost = rng.randint(2, min(40, plan.value(current) - 1))
        text += f" Together they lose {lost}."
        current = plan.add(current, "-", lost, "Left: ")
    if level >= 3:
        bags, each = rng.randint(2, 9), rng.randint(2, 9)
        text += f" They buy {bags} bags of {each}."
        current = plan.add(current, "+", plan.add(bags, "*", each, "Bought: "), "Now: ")
    if level >= 5:
        friends = [n for n in range(2, 10) if plan.value(current) % n == 0]
        share = rng.choice(friends or [1])
        text += f" They share all among {share} friends."
        plan.add(current, "/", share, "Each: ")
        return f"{text} How many does each get?", (len(plan.nodes) - 1,)
    return f"{text} How many do they have?", (len(plan.nodes) - 1,)


def _purchase(rng: random.Random, level: int, plan: Plan) -> tuple[str, tuple[int, ...]]:
    who = rng.choice(PEOPLE)
    one, two, three = rng.sample(THINGS, 3)
    count, price = rng.randint(2, 12), rng.randint(2, 9)
    text = f"{who} buys {count} {one} at {price} dollars each"
    current: Operand = plan.add(count, "*", price, "Cost: ")
    if level >= 3:
        count, price = rng.randint(2, 12), rng.randint(2, 9)
        text += f", {count} {two} at {price} dollars each"
        current = plan.add(current, "+", plan.add(count, "*", price, "Cost: "), "Total: ")
    if level >= 5:
        count, price = rng.randint(2, 12), rng.randint(2, 9)
        text += f", {count} {three} at {price} dollars each"
        current = plan.add(current, "+", plan.add(count, "*", price, "Cost: "), "Total: ")
    if level == 2 or level >= 4:
        fee = rng.randint(2, 30)
        text += f" and pays {fee} for the way"
        current = plan.add(current, "+", fee, "With the way: ")
    paid = 100 * rng.randint(plan.value(current) // 100 + 1, plan.value(current) // 100 + 2)
    if level == 5:
        return f"{text}. How much is that?", (len(plan.nodes) - 1,)
    plan.add(paid, "-", current, "Change: ")
    return f"{text}. How much is left of {paid} dollars?", (len(plan.nodes) - 1,)


def _trip(rng: random.Random, level: int, plan: Plan) -> tuple[str, tuple[int, ...]]:
    who = rng.choice(PEOPLE)
    hours, speed = rng.randint(2, 9), rng.randint(4, 30)
    text = f"{who} rides {hours} hours at {speed} miles an hour"
    current: Operand = plan.add(hours, "*", speed, "Ride: ")
    if level >= 3:
        walk, pace = rng.randint(2, 6), rng.randint(2, 5)
        text += f", then walks {walk} hours at {pace} miles an hour"
        current = plan.add(current, "+", plan.add(walk, "*", pace, "Walk: "), "Way: ")
    extra = rng.randint(2, 40)
    text += f", then {extra} miles by bus"
    current = plan.add(current, "+", extra, "With the bus: ")
    if level in (2, 4, 5):
        days = rng.randint(2, 5)
        text += f", on each of {days} days"
        current = plan.add(current, "*", days, "All days: ")
    if level == 5:
        back = rng.randint(2, min(40, plan.value(current) - 1))
        text += f", and drives {back} miles less"
        plan.add(current, "-", back, "Final: ")
    return f"{text}. How many miles is that?", (len(plan.nodes) - 1,)


def stories(rng: random.Random, level: int, plan: Plan) -> tuple[str, tuple[int, ...]]:
    """One of three kinds of word problem."""
    return rng.choice((_possessions, _purchase, _trip))(rng, level, plan)
