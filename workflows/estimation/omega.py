"""OmegaPRM's tree policy: which wrong rollout of which state is searched next.

    Q(s, r) = alpha^(1 - MC(s)) beta^(words(r) / L)
    U(s)    = c sqrt(sum of all visits) / (1 + visits of s)

The pair with the largest Q + U is searched by halving for its first state without a right rollout.
The halves are of equal length by steps, or by tokens; a token's half ends at the end of a word.

Invariant: depends only on MC, words, lengths and visits. Ties go to the earlier pair, so a repeated
shard grows the same tree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from workflows.settings import SearchSettings


def quality(mc: float, words: int, settings: SearchSettings) -> float:
    """Q(s, r): high for a short wrong rollout from a state whose rollouts are mostly right."""
    return math.pow(settings.alpha, 1 - mc) * math.pow(settings.beta, words / settings.words)


def exploration(visits: int, total: int, settings: SearchSettings) -> float:
    """U(s): high for a state that was seldom chosen."""
    return settings.exploration * math.sqrt(total) / (1 + visits)


class Candidate(NamedTuple):
    """A wrong rollout that may be searched."""

    mc: float
    """MC of the state that it starts from."""
    visits: int
    """How often that state was chosen."""
    words: int
    """Words of the rollout behind that state."""


def choose(candidates: Sequence[Candidate], total: int, settings: SearchSettings) -> int:
    """The position of the pair to search; `total` is the sum of all visits."""

    def score(candidate: Candidate) -> float:
        good = quality(candidate.mc, candidate.words, settings)
        return good + exploration(candidate.visits, total, settings)

    return max(range(len(candidates)), key=lambda place: score(candidates[place]))


def middle(lengths: Sequence[int], live: int, dead: int) -> int:
    """The cut between units `live` and `dead` whose two sides are nearest to equal length.

    `lengths`: the length of each unit of the rollout; a cut at `m` stands before unit `m`. The
    earlier of two equal cuts is taken. `dead - live` is at least 2.
    """
    until = list(accumulate(lengths[live:dead]))
    half = until.pop() / 2
    return live + 1 + min(range(len(until)), key=lambda at: abs(until[at] - half))
