"""Puzzles of ages in plain English, which the demo's grammar can't read, and models that know them.

A policy that slips, and a translator that writes their steps as formulas of Z3, says formulas in
words and compares. It can be unfaithful: `corrects` writes the right formula for a wrong step, as
models like to, and `forgets` leaves a premise out.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from itertools import pairwise

from actors.engines.contract import Chat
from workflows.formats import statements, steps

NAMES = ("Ann", "Bob", "Cid", "Dora")
_GIVEN = re.compile(r"(\w+) is (\d+) years old\.")
_OLDER = re.compile(r"(\w+) is (\d+) years older than (\w+)\.")
_TIMES = re.compile(r"(\w+) is (\d+) times as old as (\w+)\.")
_SAYS = re.compile(r"(\w+) (?:must be|is then) (-?\d+)")
_ANSWER = re.compile(r"\\boxed\{(-?\d+)\}")


@dataclass(frozen=True)
class Puzzle:
    """One problem with the true age of everybody, in the order in which they follow."""

    problem_id: str
    text: str
    ages: dict[str, int]

    @property
    def answer(self) -> str:
        """The age that is asked for."""
        return str(list(self.ages.values())[-1])


def puzzles(count: int, seed: int = 0) -> list[Puzzle]:
    """Different puzzles."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        names = rng.sample(NAMES, 3 + number % 2)
        ages = {names[0]: rng.randint(2, 9)}
        lines = [f"{names[0]} is {ages[names[0]]} years old."]
        for before, name in pairwise(names):
            by = rng.randint(2, 5)
            if rng.random() < 0.5:
                ages[name] = ages[before] + by
                lines.append(f"{name} is {by} years older than {before}.")
            else:
                ages[name] = ages[before] * by
                lines.append(f"{name} is {by} times as old as {before}.")
        text = f"{' '.join(lines[::-1])} How old is {names[-1]}?"
        made.append(Puzzle(f"age/{number}", text, ages))
    return made


def written(puzzle: Puzzle, slip: int | None) -> list[str]:
    """A solution whose person number `slip` has an age too many; later ones follow from it."""
    name, *others = puzzle.ages
    said, lines = dict(puzzle.ages), []
    for place, other in enumerate(others):
        before = name if place == 0 else others[place - 1]
        older = re.search(rf"{other} is (\d+) years older than {before}\.", puzzle.text)
        times = re.search(rf"{other} is (\d+) times as old as {before}\.", puzzle.text)
        said[other] = said[before] + int(older[1]) if older else said[before] * int(times[1])  # type: ignore[index]
        said[other] += slip == place
        how = "must be" if place % 2 else "is then"
        lines.append(f"Since we know the age of {before}, {other} {how} {said[other]}.")
    return [*lines, f"So the answer is \\boxed{{{said[others[-1]]}}}."]


def first_error(puzzle: Puzzle, lines: list[str]) -> int | None:
    """The first step with a wrong age."""
    for place, line in enumerate(lines):
        says = _SAYS.search(line)
        if str(puzzle.ages[says[1]] if says else puzzle.answer) != (
            says[2] if says else _ANSWER.search(line)[1]  # type: ignore[index]
        ):
            return place
    return None


class AgesWorld:
    """The scripts of both models."""

    def __init__(self, known: list[Puzzle], fault: str = "") -> None:
        """`fault`: "", `corrects` or `forgets`."""
        self._puzzles = known
        self._fault = fault
        self.prompts: list[Chat] = []

    def policy(self, chat: Chat, seed: int) -> str:
        """A solution, every other one wrong."""
        rng = random.Random(seed)
        puzzle = self._of(chat.user)
        slip = rng.randrange(len(puzzle.ages) - 1) if rng.random() < 0.5 else None
        return steps.join(written(puzzle, slip)).removeprefix(steps.header(1))

    def translator(self, chat: Chat, seed: int) -> str:
        """The three texts of a translation."""
        self.prompts.append(chat)
        if statements.STATE_RULES in chat.user:
            return self._state(chat.user)
        return _said(chat.user) if statements.SAY_RULES in chat.user else _same(chat.user)

    def _of(self, text: str) -> Puzzle:
        return next(puzzle for puzzle in self._puzzles if puzzle.text in text)

    def _state(self, asked: str) -> str:
        puzzle = self._of(asked)
        given = [f"{name} == {age}" for name, age in _GIVEN.findall(puzzle.text)]
        given += [f"{name} == {other} + {by}" for name, by, other in _OLDER.findall(puzzle.text)]
        given += [f"{name} == {by} * {other}" for name, by, other in _TIMES.findall(puzzle.text)]
        if self._fault == "forgets":
            given.pop(0)
        names = list(puzzle.ages)
        variables = f"{', '.join(names)} = Ints({' '.join(names)!r})"
        blocks = [f"{variables}\npremises = [{', '.join(given)}]"]
        for line in re.findall(r"<paragraph_\d+>\n(.*?)\n</paragraph_\d+>", asked):
            says = _SAYS.search(line)
            name = says[1] if says else names[-1]
            value = says[2] if says else _ANSWER.search(line)[1]  # type: ignore[index]
            if self._fault == "corrects":
                value = str(puzzle.ages[name])
            blocks.append(f"{name} == {value}")
        return "\n\n".join(
            f"### Paragraph {number}\n\n```python\n{block}\n```"
            for number, block in enumerate(blocks)
        )


def _said(asked: str) -> str:
    """Every equation as words, from the formulas alone."""
    parts = re.split(r"### Paragraph \d+\n", asked.split(statements.SAY_RULES)[0])[1:]
    words = ["; ".join(re.findall(r"[A-Z][a-z]+ == [^,\]\n]+", part)) for part in parts]
    return "\n\n".join(f"### Paragraph {number}\n\n{said}" for number, said in enumerate(words))


def _same(asked: str) -> str:
    """Whether the second text has the numbers of the first."""
    parts = re.split(r"### Paragraph \d+\n", asked.split(statements.SAME_RULES)[0])[1:]
    lines = []
    for number, part in enumerate(parts):
        first, second = part.split("[Second Text]")
        same = sorted(re.findall(r"\d+", first)) == sorted(re.findall(r"\d+", second))
        lines.append(f"### Paragraph {number}\n\n\\boxed{{{'Yes' if same else 'No'}}}")
    return "\n\n".join(lines)
