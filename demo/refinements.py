"""What the refiner is taught: to mend the paragraph that a critique is about, and to read it first.

Invariant: a critique has the words of the writer's analysis, and quotes the first wrong step. What
is taught depends on the critique alone: one of this solution mends it, one of another path changes
nothing, and without one the policy writes anew.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from actors.engines.contract import Chat
from demo import check, judgements, rationales, solutions
from demo.problem import Problem
from storage.rows.records import Critique, Message
from workflows.formats import prompts
from workflows.formats.rationale import paragraphs
from workflows.formats.refinement import REQUEST, RefineSettings, refine_chat


def critique(problem: Problem, steps: Sequence[str]) -> Critique | None:
    """The true critique of the first wrong step; None of a right solution, and where the writer
    of verifications would miss that step.
    """
    verified = rationales.verify(problem, steps)
    if verified is None or verified.index == -1:
        return None
    whole = prompts.rationale_chat(problem.text, steps).prefill + verified.reply
    analyses, _ = paragraphs(whole, len(steps))
    at = verified.index - 1
    return Critique(
        response_id=problem.problem_id, problem_id=problem.problem_id, problem=problem.text,
        subset="",
        steps=list(steps), step=at, text=analyses[at], turn=0,
    )  # fmt: skip


def chat(own: Critique, shown: Critique | None) -> Chat:
    """The conversation about the solution of `own` that shows the critique `shown`; None: none."""
    asked = refine_chat(own, RefineSettings())
    request = REQUEST if shown is None else refine_chat(shown, RefineSettings()).user
    return replace(asked, messages=(*asked.messages[:-1], Message("user", request)))


def applies(own: Critique, shown: Critique) -> bool:
    """Whether a critique may be read as one of this solution: it quotes one of its paragraphs."""
    return shown.steps[shown.step] in own.steps


def mended(
    problem: Problem, told: Critique, habits: solutions.Habits, rng: random.Random
) -> tuple[str, ...] | None:
    """The solution after its critique: the steps before the wrong one, that step done right, and
    the rest by a writer of these habits. None where the steps before it leave something out.
    """
    judged = judgements.judge(problem, told.steps)
    step = None if judged is None else judgements.repair(problem, judged)
    if judged is None or step is None:
        return None
    place = judged.findings[told.step].reference[0] - 1
    before = told.steps[: told.step]
    known: set[int] = set()
    for claim in (claim for each in before for claim in check.equations(each)):
        if (node := check.matching_node(problem, claim, known)) is not None:
            known.add(node)
    if not known.issuperset(range(place)):
        return None
    rest = () if place == len(problem.nodes) else _rest(problem, habits, rng, place + 1)
    return (*before, step, *rest)


def _rest(
    problem: Problem, habits: solutions.Habits, rng: random.Random, done: int
) -> tuple[str, ...]:
    return solutions.write(problem, replace(habits, blurt=0.0), rng, done).steps
