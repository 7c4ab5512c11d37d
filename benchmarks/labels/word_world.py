"""Arithmetic word problems in plain English whose every step is known.

A problem has a plan: equations that lead from the numbers of its text to its answer, each with a
sentence that a pupil could write. Kinds have one to four such steps; names, things, sentences and
numbers are drawn.

Invariant: a problem follows from its seed and its place. Its numbers and results are all
different, so that a number in a solution says which quantity it is; none of its operations gives
what another one would on the same numbers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from workflows.injecting.claims import OPERATIONS, Claim

NAMES = (
    ("Tom", "he"), ("Anna", "she"), ("Ben", "he"), ("Mia", "she"), ("Sam", "he"),
    ("Lucy", "she"), ("Omar", "he"), ("Ines", "she"), ("Ravi", "he"), ("Mei", "she"),
)  # fmt: skip
THINGS = ("apples", "marbles", "stickers", "pencils", "shells", "cards", "books", "cookies")
GOODS = ("pens", "cakes", "tickets", "balls", "sandwiches", "notebooks")
HOLDERS = ("bags", "boxes", "baskets", "jars")
MOST_DRAWS = 500


@dataclass(frozen=True, slots=True)
class WordProblem:
    """A problem with the solution that is known to be right."""

    problem_id: str
    kind: str
    text: str
    numbers: tuple[Fraction, ...]
    """Those of the text."""
    plan: tuple[Claim, ...]
    """The equations of the solution, in order; the last gives the answer."""
    steps: tuple[str, ...]
    """The plan in sentences, and the answer in a box."""

    @property
    def answer(self) -> str:
        """The answer, a whole number."""
        return str(self.plan[-1].result)

    @property
    def row(self) -> dict[str, str]:
        """As a build reads it."""
        return {"problem_id": self.problem_id, "problem": self.text, "answer": self.answer,
                "level": str(len(self.plan)), "source": "word problems"}  # fmt: skip


class Draft:
    """What is drawn for one problem."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        (self.name, self.he), (self.other, _) = rng.sample(NAMES, 2)
        self.thing, self.second_thing = rng.sample(THINGS, 2)
        self.good, self.second_good = rng.sample(GOODS, 2)
        self.holder = rng.choice(HOLDERS)
        self.numbers: list[Fraction] = []
        self.plan: list[Claim] = []
        self.steps: list[str] = []

    def number(self, least: int, most: int) -> int:
        """A number of the text."""
        self.numbers.append(Fraction(self.rng.randint(least, most)))
        return int(self.numbers[-1])

    def one_of(self, *texts: str) -> str:
        """A wording."""
        return self.rng.choice(texts)

    def step(self, left: int, op: str, right: int, *sentences: str) -> int:
        """A step of the plan: its result. `sentences` hold the equation as `{}`."""
        value = OPERATIONS[op](Fraction(left), Fraction(right))
        if value is None or value.denominator != 1 or value < 2:
            raise ValueError("not whole")
        self.plan.append(Claim(Fraction(left), op, Fraction(right), value))
        sign = {"*": self.rng.choice(("*", "\\times")), "/": self.rng.choice(("/", "\\div"))}
        equation = f"${left} {sign.get(op, op)} {right} = {value}$"
        self.steps.append(self.rng.choice(sentences).format(equation))
        return int(value)


def _left(d: Draft) -> str:
    a, b = d.number(5, 20), d.number(2, 12)
    d.step(a, "-", b, f"Then {{}} {d.thing} are left.", "Subtract what is taken: {}.")
    return d.one_of(
        f"{d.name} has {a} {d.thing} and gives {b} of them to {d.other}. "
        f"How many {d.thing} does {d.name} have left?",
        f"There were {a} {d.thing} on the table. {d.name} took {b} of them away. "
        f"How many {d.thing} are still on the table?",
    )


def _together(d: Draft) -> str:
    a, b = d.number(3, 20), d.number(2, 15)
    d.step(a, "+", b, "In all there are {}.", f"Add the {d.thing}: {{}}.")
    return d.one_of(
        f"{d.name} has {a} {d.thing}. {d.other} has {b} {d.thing}. "
        f"How many {d.thing} do they have together?",
        f"{d.name} found {a} {d.thing} in the morning and {b} more in the afternoon. "
        f"How many {d.thing} did {d.he} find that day?",
    )


def _groups(d: Draft) -> str:
    a, b = d.number(2, 9), d.number(3, 10)
    d.step(
        a, "*", b, f"Multiply {d.holder} by {d.thing}: {{}}.", f"In all there are {{}} {d.thing}."
    )
    return d.one_of(
        f"{d.name} has {a} {d.holder} with {b} {d.thing} in each. "
        f"How many {d.thing} does {d.name} have?",
        f"Each of {a} {d.holder} holds {b} {d.thing}. How many {d.thing} are there in all?",
    )


def _shared(d: Draft) -> str:
    b, each = d.number(2, 6), d.number(3, 9)
    a = b * each
    d.numbers[1] = Fraction(a)
    d.step(a, "/", b, f"Each child gets {{}} {d.thing}.", "Divide by the number of children: {}.")
    return d.one_of(
        f"{d.name} shares {a} {d.thing} equally among {b} children. "
        f"How many {d.thing} does each child get?",
        f"{a} {d.thing} are shared equally by {b} children. How many does each of them get?",
    )


def _more_and_less(d: Draft) -> str:
    a, b, c = d.number(5, 20), d.number(3, 15), d.number(2, 12)
    total = d.step(
        a, "+", b, f"At first {d.name} has {{}} {d.thing}.", f"First add: {{}} {d.thing}."
    )
    d.step(total, "-", c, f"Then {{}} {d.thing} are left.", "Subtract what is gone: {}.")
    return d.one_of(
        f"{d.name} has {a} {d.thing}. {d.he.title()} buys {b} more and then gives {c} to "
        f"{d.other}. How many {d.thing} does {d.name} have now?",
        f"{d.name} had {a} {d.thing} and got {b} more for a birthday. Later {d.he} lost {c}. "
        f"How many {d.thing} does {d.name} have in the end?",
    )


def _more_than(d: Draft) -> str:
    a, b = d.number(4, 15), d.number(2, 10)
    other = d.step(a, "+", b, f"{d.other} has {{}} {d.thing}.", f"{d.other}: {{}}.")
    d.step(a, "+", other, "Together they have {}.", f"Add both: {{}} {d.thing}.")
    return (
        f"{d.name} has {a} {d.thing}. {d.other} has {b} more than {d.name}. "
        f"How many {d.thing} do they have together?"
    )


def _change(d: Draft) -> str:
    n, price = d.number(2, 6), d.number(2, 8)
    paid = d.number(2, 5) * 10
    d.numbers[-1] = Fraction(paid)
    cost = d.step(
        n, "*", price, f"The {d.good} cost {{}} dollars.", "Multiply to get the cost: {}."
    )
    d.step(paid, "-", cost, f"{d.name} has {{}} dollars left.", "What is left is {}.")
    return d.one_of(
        f"{d.name} buys {n} {d.good} for {price} dollars each and pays with a {paid} dollars. "
        f"How many dollars of change does {d.he} get?",
        f"{d.name} had {paid} dollars. {d.he.title()} bought {n} {d.good} at {price} dollars each. "
        f"How many dollars does {d.name} have left?",
    )


def _savings(d: Draft) -> str:
    a, each, weeks = d.number(5, 30), d.number(2, 9), d.number(3, 8)
    saved = d.step(weeks, "*", each, f"In {weeks} weeks {d.name} saves {{}} dollars.",
                   "Multiply weeks by dollars: {}.")  # fmt: skip
    d.step(a, "+", saved, f"With what {d.he} had that makes {{}} dollars.", "Add the savings: {}.")
    return (
        f"{d.name} has {a} dollars and saves {each} dollars every week. "
        f"How many dollars does {d.he} have after {weeks} weeks?"
    )


def _two_goods(d: Draft) -> str:
    n, p, m, q = d.number(2, 6), d.number(2, 9), d.number(2, 6), d.number(2, 9)
    first = d.step(n, "*", p, f"The {d.good} cost {{}} dollars.", f"For the {d.good}: {{}}.")
    second = d.step(
        m, "*", q, f"The {d.second_good} cost {{}} dollars.", f"For the {d.second_good}: {{}}."
    )
    d.step(first, "+", second, "In total that is {} dollars.", "Add the two costs: {}.")
    return (
        f"{d.name} buys {n} {d.good} at {p} dollars each and {m} {d.second_good} at {q} dollars "
        f"each. How many dollars does {d.he} pay in total?"
    )


def _given_and_shared(d: Draft) -> str:
    boxes, each, given, children = (
        d.number(2, 8), d.number(4, 10), d.number(2, 12), d.number(2, 6)
    )  # fmt: skip
    total = d.step(boxes, "*", each, f"There are {{}} {d.thing}.", "Multiply first: {}.")
    rest = d.step(total, "-", given, f"After the gift {{}} {d.thing} are left.", "Subtract: {}.")
    d.step(rest, "/", children, f"Each child gets {{}} {d.thing}.", "Divide what is left: {}.")
    return (
        f"{d.name} has {boxes} {d.holder} of {each} {d.thing}. {d.he.title()} gives {given} "
        f"to {d.other} and shares the rest equally among {children} children. "
        f"How many {d.thing} does each child get?"
    )


def _journey(d: Draft) -> str:
    v, h, w, k = d.number(20, 60), d.number(2, 4), d.number(20, 60), d.number(2, 4)
    whole = d.number(250, 500)
    first = d.step(v, "*", h, "The first part is {} km long.", "First it goes {} km.")
    second = d.step(w, "*", k, "The second part is {} km long.", "Then it goes {} km.")
    gone = d.step(first, "+", second, "So far that makes {} km.", "Add both parts: {} km.")
    d.step(whole, "-", gone, "There are {} km left.", "Subtract from the whole way: {} km.")
    return (
        f"A train has to go {whole} km. It goes {v} km per hour for {h} hours and then {w} km per "
        f"hour for {k} hours. How many km are left?"
    )


def _shopping(d: Draft) -> str:
    n, p, m, q = d.number(2, 6), d.number(2, 9), d.number(2, 6), d.number(2, 9)
    all_of_it = d.number(100, 100)
    first = d.step(
        n, "*", p, f"The {d.good} cost {{}} dollars.", f"{d.good.title()}: {{}} dollars."
    )
    second = d.step(
        m, "*", q, f"The {d.second_good} cost {{}} dollars.",
        f"{d.second_good.title()}: {{}} dollars.",
    )  # fmt: skip
    both = d.step(first, "+", second, "Together they cost {} dollars.", "Add: {} dollars.")
    d.step(all_of_it, "-", both, f"{d.name} has {{}} dollars left.", "Subtract it from 100: {}.")
    return (
        f"{d.name} has 100 dollars. {d.he.title()} buys {n} {d.good} at {p} dollars each and {m} "
        f"{d.second_good} at {q} dollars each. How many dollars are left?"
    )


KINDS: Mapping[str, Callable[[Draft], str]] = {
    "left": _left,
    "together": _together,
    "groups": _groups,
    "shared": _shared,
    "more and less": _more_and_less,
    "more than": _more_than,
    "change": _change,
    "savings": _savings,
    "two goods": _two_goods,
    "given and shared": _given_and_shared,
    "journey": _journey,
    "shopping": _shopping,
}
"""Kind -> its text, whose steps it writes down; the first four have one step, the last two four."""


def problem(kind: str, place: int, seed: int) -> WordProblem:
    """One problem. Raises KeyError: no such kind."""
    rng = random.Random(f"word problems/{kind}/{place}/{seed}")
    for _ in range(MOST_DRAWS):
        draft = Draft(rng)
        try:
            text = KINDS[kind](draft)
        except ValueError:
            continue
        plan = tuple(draft.plan)
        values = [*draft.numbers, *(claim.result for claim in plan)]
        if len(set(values)) < len(values) or any(map(_ambiguous, plan)):
            continue
        said = draft.one_of("The answer is", "The final answer is", "So the answer is")
        steps = (*draft.steps, f"{said} $\\boxed{{{plan[-1].result}}}$.")
        name = f"{kind.replace(' ', '-')}/{seed}/{place}"
        return WordProblem(name, kind, text, tuple(draft.numbers), plan, steps)
    raise AssertionError(f"no suitable numbers for {kind} in {MOST_DRAWS} draws")


def _ambiguous(claim: Claim) -> bool:
    """Whether another operation gives the same."""
    others = (OPERATIONS[op](claim.left, claim.right) for op in "+-*/" if op != claim.op)
    return claim.result in others


def problems(count: int, seed: int) -> list[WordProblem]:
    """Problems of all kinds in turn."""
    kinds = list(KINDS)
    return [problem(kinds[at % len(kinds)], at // len(kinds), seed) for at in range(count)]
