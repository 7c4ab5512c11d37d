"""Critique refinement: the prompt for a generator after a verifier found a wrong step.

The paper's form is `conversation`: the problem, the whole solution as the generator's earlier turn,
then the critique. The critique is the verifier's `<analyze>` of the first step judged wrong.

The form `prefix` is for a generator that never read a critique, such as the demo's. The steps
before the first wrong one are the beginning of its answer. The critique then decides only where it
begins again; with `quote` the prompt shows it behind the problem.

Invariant: all functions are pure, and no prompt has an answer or a label. A solution without a step
judged wrong gets no prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from actors.engines.contract import Chat
from storage.bounds import STRICT, Positive, Share, Temperature
from storage.errors import ItemError
from storage.rows.records import Critique, Message, Response, Score
from workflows.formats import prompts, steps
from workflows.votes.rewards import THRESHOLD, first_error_index

REQUEST = (
    "There might be some problem in this paragraph of your reasoning, please rethink and refine "
    "your answer:"
)
"""The text of the released code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineSettings:
    """How the generator is asked again (defaults: the released code's for Qwen2.5-7B-Instruct)."""

    __pydantic_config__ = STRICT

    form: Literal["conversation", "prefix"] = "conversation"
    """`conversation`: the paper's; `prefix`: go on after the last step before the wrong one."""
    quote: bool = False
    """Under `prefix`: show the critique behind the problem."""
    force_steps: bool = True
    """Under `conversation`: open the answer with "Step 1: ", so that it can be cut into steps."""
    temperature: Temperature = 0.7
    top_p: Share = 0.8
    top_k: int = 20
    max_tokens: Positive = 16384
    system: str = prompts.SOLVER_SYSTEM
    seed: int = 0
    """Seeds of requests derive from (seed, response, turn)."""
    heal: bool = True
    """Leave the end of a forced beginning to the model, as `stages.heal` does in a build."""


def critique_of(
    response: Response, score: Score, turn: int, threshold: float = THRESHOLD
) -> Critique | None:
    """Make the critique of the first step judged wrong; None where no step is.

    Its text is the analysis of the first history that judges the step wrong by itself.
    """
    step = first_error_index(score.rewards, threshold)
    if step < 0:
        return None
    condemning = [history for history in score.histories if history.rewards[step] < threshold]
    analyses = [history.analyses[step] for history in (condemning or score.histories)]
    return Critique(
        response_id=response.response_id,
        problem_id=response.problem_id,
        problem=response.problem,
        steps=response.steps,
        subset=response.subset,
        step=step,
        text=next((text for text in analyses if text.strip()), ""),
        turn=turn,
    )


def refine_chat(critique: Critique, settings: RefineSettings) -> Chat:
    """Make the prompt for the generator."""
    request = _request(critique)
    system = Message("system", settings.system)
    if settings.form == "prefix":
        kept = prompts.completion_chat(critique.problem, critique.steps[: critique.step])
        shown = f"{critique.problem}\n\n{request}" if settings.quote else critique.problem
        return Chat((system, Message("user", shown)), kept.prefill)
    turns = (
        system,
        Message("user", critique.problem),
        Message("assistant", steps.join(critique.steps)),
        Message("user", request),
    )
    return Chat(turns, steps.header(1) if settings.force_steps else "")


def _request(critique: Critique) -> str:
    quoted = "\n".join(f"> {line}" for line in critique.steps[critique.step].split("\n"))
    return "\n\n".join(part for part in (REQUEST, quoted, critique.text.strip()) if part)


def refined_steps(text: str) -> list[str]:
    """The steps of the new solution; `text`: the whole assistant's turn, in either form.

    Raises ItemError `step_gap` or `empty_step`.
    """
    if flaw := steps.step_flaw(text):
        raise ItemError(flaw)
    return list(steps.split(text))
