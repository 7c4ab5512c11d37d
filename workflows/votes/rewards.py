"""Step rewards from a verdict's log-probabilities, first errors and scores of solutions.

Equations 5 and 6 of GenPRM (arXiv 2504.00891): a step's reward is P(Yes) / (P(Yes) + P(No)) at the
verdict. Maj@N is its mean over N independent histories. A step is right if that is at least 0.5.

Invariant: a reward is in [0, 1]; steps are counted from 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

from storage.errors import ItemError

THRESHOLD = 0.5
"""A step is judged right if its reward is at least this."""

Aggregate = Literal["min", "last", "mean", "product"]
AGGREGATES: tuple[Aggregate, ...] = ("min", "last", "mean", "product")


class Unscored(StrEnum):
    """All reasons why a step has no reward."""

    NO_VERDICT = "no_verdict"
    """At the verdict's position, neither `Yes` nor `No` is among the likeliest tokens."""


def reward_at(top: Sequence[tuple[str, float]], yes: str = "Yes", no: str = "No") -> float:
    """P(yes) / (P(yes) + P(no)) from the likeliest tokens at a position, with log-probabilities.

    If only one word is among them, the other gets the largest probability that it can have. That
    is the smallest listed one or the unlisted rest, whichever is less. Raises ItemError
    `no_verdict` if neither word is among them.
    """
    chances: dict[str, float] = {}
    for token, logprob in top:
        chances[token] = chances.get(token, 0.0) + math.exp(logprob)
    if yes not in chances and no not in chances:
        words = ", ".join(repr(token) for token, _ in top[:3])
        raise ItemError(Unscored.NO_VERDICT, f"neither {yes} nor {no}, but {words or 'nothing'}")
    left = max(0.0, 1.0 - sum(chances.values()))
    most = min(left, *chances.values())
    right, wrong = chances.get(yes, most), chances.get(no, most)
    return right / (right + wrong) if right + wrong else 0.5


def averaged(histories: Sequence[Sequence[float]]) -> list[float]:
    """Maj@N: the mean reward of each step over the histories that judged it (equation 5).

    Pruned histories end early (`workflows.votes.pruning`). Raises ValueError for no history.
    """
    if not histories:
        raise ValueError("no history to average over")
    judged = [
        [rewards[step] for rewards in histories if len(rewards) > step]
        for step in range(max(map(len, histories)))
    ]
    return [sum(rewards) / len(rewards) for rewards in judged]


def first_error_index(rewards: Sequence[float], threshold: float = THRESHOLD) -> int:
    """0-based index of the first step with a reward below `threshold`; -1: none (equation 6)."""
    return next((step for step, reward in enumerate(rewards) if reward < threshold), -1)


def solution_score(rewards: Sequence[float], aggregate: Aggregate) -> float:
    """The score of a whole solution, to choose among several. Raises ValueError without steps."""
    if not rewards:
        raise ValueError("a solution without steps has no score")
    match aggregate:
        case "min":
            return min(rewards)
        case "last":
            return rewards[-1]
        case "mean":
            return sum(rewards) / len(rewards)
        case "product":
            return math.prod(rewards)
