"""A policy of the demo world whose model is a function: it goes on from any beginning, and slips.

`kind: scripted`, `model: tests.scripted_solver:policy`: a worker anywhere can open it.
The path of a script is the model's identity, and golden runs hold it: this module does not move.
"""

from __future__ import annotations

import random
from functools import cache

from actors.engines.contract import Chat
from demo import solutions
from tests.scripted_verifier import PROBLEMS
from tests.support.scripted_world import world_problems
from workflows.formats import steps

SLOPPY = solutions.Habits(slip=0.25)
DRAWN = 500
"""Solutions of a problem among which one is chosen that has the beginning to be continued."""


@cache
def _drawn() -> dict[str, list[tuple[str, ...]]]:
    return {
        problem.text: [
            solutions.write(problem, SLOPPY, random.Random(number)).steps for number in range(DRAWN)
        ]
        for problem in world_problems(PROBLEMS)
    }


def policy(chat: Chat, seed: int) -> str:
    """What comes behind the prefill, which ends with the header of the next step."""
    done = steps.split(chat.prefill)[:-1]
    fitting = [one for one in _drawn()[chat.messages[-1].content] if one[: len(done)] == done]
    if not fitting:
        return "I am lost."
    whole = random.Random(seed).choice(fitting)
    return steps.join(whole).removeprefix(steps.opening(done))
