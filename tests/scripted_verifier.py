"""A verifier of the demo world whose model is a function: it writes the training format, knows the
truth, and doubts it by its seed.

`kind: scripted`, `model: tests.scripted_verifier:verifier`: a worker anywhere can open it.
The path of a script is the model's identity, and golden runs hold it: this module does not move.
"""

from __future__ import annotations

import random
import time
from functools import cache

from actors.engines.contract import Chat
from demo import check, rationales
from demo.problem import Problem
from storage.rows.records import Response
from tests.support.scripted_world import SLOPPY, world_problems
from workflows.formats import prompts
from workflows.formats.conversation import QUESTION
from workflows.formats.rationale import paragraphs
from workflows.formats.verification import VERDICT_OPENING

PROBLEMS = 12
DOUBT = 0.15
"""Share of the verdicts that are the other word."""


@cache
def _problems() -> dict[str, Problem]:
    return {problem.text: problem for problem in world_problems(PROBLEMS)}


def world_responses() -> list[Response]:
    """Solutions to the problems that it knows, right and wrong, with true labels."""
    from demo import solutions

    found = []
    for number, problem in enumerate(world_problems(PROBLEMS)):
        written = solutions.write(problem, SLOPPY, random.Random(number)).steps
        wrong = check.first_error(problem, written)
        found.append(
            Response(
                f"r{number}", problem.problem_id, problem.text, list(written), "world",
                label=-1 if wrong is None else wrong,
            )
        )  # fmt: skip
    return found


def asked(chat: Chat) -> tuple[Problem, list[str]]:
    """The problem and the steps that were shown so far."""
    turns = [message.content for message in chat.messages if message.role == "user"]
    text = turns[0].removeprefix(QUESTION)
    problem = next(known for key, known in _problems().items() if text.startswith(key + "\n\n"))
    return problem, [text.removeprefix(problem.text).removeprefix("\n\n"), *turns[1:]]


def verifier(chat: Chat, seed: int) -> str:
    """The turn that the training data would have, continued from wherever it is cut."""
    problem, steps = asked(chat)
    number = len(steps)
    if chat.prefill.endswith(VERDICT_OPENING):
        wrong = check.first_error(problem, steps)
        right = wrong is None or wrong >= number
        doubted = random.Random(seed).random() < DOUBT
        return "Yes" if right != doubted else "No"
    written = rationales.verify(problem, steps)
    if written is None:
        return f"I can't say.\n{prompts.ANALYZE_CLOSE}\nNothing to run.\n{prompts.VERIFY_CLOSE}\n"
    whole = prompts.rationale_chat(problem.text, steps).prefill + written.reply
    analyses, verifications = paragraphs(whole, number)
    analysis = f"{analyses[-1]}\n{prompts.ANALYZE_CLOSE}\n"
    verification = f"{verifications[-1]}\n{prompts.VERIFY_CLOSE}\n"
    if prompts.VERIFY_OPEN not in chat.prefill:
        return analysis
    done = chat.prefill.rpartition(prompts.VERIFY_LEAD_IN + "\n")[2]
    return verification.removeprefix(done)


def slow_verifier(chat: Chat, seed: int) -> str:
    """The same at a pace at which it can be killed in the middle."""
    time.sleep(0.03)
    return verifier(chat, seed)
