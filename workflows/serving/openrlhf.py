"""OpenRLHF's protocol for a reward model behind a URL (`--reward.remote_url`), spoken by a server.

    {"query": [prompt + response], "prompts": [prompt], "labels": [...]}
    -> {"rewards": [...], "scores": [...], "extra_logs": {...}}

Its rollouts send one solution a request and read `rewards`, `scores` and every value of
`extra_logs` as one number, its older trainers send many and read lists. So where one was sent
numbers are answered, else lists.

The problem is the last user turn of a prompt in ChatML, else the whole prompt.

Invariant: pure. A solution is what follows its prompt in the query, without end-of-text tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workflows.serving.answers import SCORE
from workflows.serving.questions import Item, parsed
from workflows.serving.troubles import invalid, of_validation

_USER = re.compile(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", re.DOTALL)
ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>", "<eos>")
"""What models end their texts with; what stands behind one is no solution."""
UNSCORED = 0.0
"""The reward of a solution that can't be scored: one that is empty, or too long."""


class Queries(BaseModel):
    """A request of OpenRLHF."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    query: Annotated[list[str], Field(min_length=1)]
    prompts: list[str]
    labels: list[Any] | None = None


def items_of(body: bytes) -> list[Item | None]:
    """The solutions of a request; None for one that is empty. Raises Trouble."""
    try:
        queries = Queries.model_validate(parsed(body))
    except ValidationError as error:
        raise of_validation(error) from None
    if len(queries.prompts) != len(queries.query):
        change = "send a prompt for each query"
        raise invalid(f"{len(queries.query)} queries, {len(queries.prompts)} prompts", change)
    pairs = zip(queries.query, queries.prompts, strict=True)
    return [_item(query, prompt, at) for at, (query, prompt) in enumerate(pairs)]


def _item(query: str, prompt: str, at: int) -> Item | None:
    if not query.startswith(prompt):
        change = "send queries that begin with their prompts, as OpenRLHF does"
        raise invalid(f"query {at} does not begin with its prompt", change)
    solution = query[len(prompt) :]
    for end in ENDS:
        solution = solution.partition(end)[0]
    if not solution.strip():
        return None
    turns = _USER.findall(prompt)
    return Item(problem=turns[-1] if turns else prompt, solution=solution)


def rewards_json(scores: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """The answer to a request, from the scores of its solutions; None: it has none."""
    rewards = [UNSCORED if score is None else float(score[SCORE]) for score in scores]
    logs = {
        "verifier_mean": [_mean(score["rewards"]) if score else UNSCORED for score in scores],
        "verifier_right": [float(bool(score and score["first_error"] < 0)) for score in scores],
        "verifier_scored": [float(score is not None) for score in scores],
    }
    if len(rewards) == 1:
        only = {name: values[0] for name, values in logs.items()}
        return {"rewards": rewards[0], "scores": rewards[0], "extra_logs": only}
    return {"rewards": rewards, "scores": rewards, "extra_logs": logs}


def _mean(rewards: Sequence[float]) -> float:
    return sum(rewards) / len(rewards)
