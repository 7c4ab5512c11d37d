"""A solution that is written step by step: where a step is cut, and what was written of it.

Invariant: all functions are pure. A beginning that is continued ends with a step's text; the header
of the next step is forced.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.engines.contract import Completion
from workflows.answers import read_answer
from workflows.formats import steps
from workflows.formats.steps import Flaw

_MARKS = ("", "**", "## ", "### ")
"""What chat models put before a header; others are found when the text is read."""


@dataclass(frozen=True, slots=True)
class WrittenStep:
    """One sampled step."""

    step: str
    text: str
    """The assistant's text up to its end."""
    answer: str | None
    """The answer, if the solution ends with this step."""
    flaw: str | None
    """Why it can't be used."""

    @property
    def ends(self) -> bool:
        """Whether it ends the solution."""
        return self.answer is not None


def next_opening(text: str, done: int) -> str:
    """What the policy continues after `done` steps whose text is `text`."""
    return (text.rstrip() + steps.SEPARATOR if done else "") + steps.header(done + 1)


def step_stops(done: int) -> tuple[str, ...]:
    """Strings that end step `done` + 1: the header of the one after it, at a line's beginning."""
    return tuple(f"\n{marks}Step {done + 2}" for marks in _MARKS)


def written_step(completion: Completion, prefill: str, before: tuple[str, ...]) -> WrittenStep:
    """Read the step behind the steps `before`; `prefill`: what was continued."""
    text, number = completion.after(prefill), len(before)
    solution = steps.read(text)
    cut = len(solution.steps) > number + 1
    if cut:
        text = text[: solution.starts[number + 1]]
    step = solution.steps[number] if len(solution.steps) > number else ""
    text = text.rstrip()
    if completion.finish_reason != "stop" and not cut:
        return WrittenStep(step, text, None, Flaw.TRUNCATED)
    if not step:
        return WrittenStep(step, text, None, Flaw.EMPTY_STEP)
    if solution.steps[:number] != before:
        return WrittenStep(step, text, None, Flaw.STEP_GAP)
    if cut or completion.stop_string is not None:
        return WrittenStep(step, text, None, None)
    answer = read_answer(text)
    return WrittenStep(step, text, answer, Flaw.NO_BOX if answer is None else None)
