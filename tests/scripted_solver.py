"""A policy of the demo world whose model is a function: it goes on from any beginning, and slips.

`kind: scripted`, `model: tests.scripted_solver:policy`: a worker anywhere can open it.
The path of a script is the model's identity, and golden runs hold it: this module does not move.
"""

from __future__ import annotations

import random
from functools import cache

from actors.engines.contract import Chat
from demo import solutions
from demo.problem import Problem
from tests.scripted_verifier import PROBLEMS
from tests.support.scripted_world import world_problems
from workflows.formats import steps

SLOPPY = solutions.Habits(slip=0.25)
TRIES = 400
"""Solutions that are drawn to find one with the beginning that is to be continued."""


@cache
def _problems() -> dict[str, Problem]:
    return {problem.text: problem for problem in world_problems(PROBLEMS)}


def policy(chat: Chat, seed: int) -> str:
    """What comes behind the prefill, which ends with the header of the next step."""
    problem = _problems()[chat.messages[-1].content]
    done = steps.split(chat.prefill)[:-1]
    for number in range(TRIES):
        rng = random.Random(f"{seed}/{number}")
        written = solutions.write(problem, SLOPPY, rng).steps
        if written[: len(done)] == done:
            whole = steps.join(written)
            return whole.removeprefix(steps.opening(done))
    return "I am lost."
